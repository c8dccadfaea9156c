"""The hubs of the cluster, by their leases."""
