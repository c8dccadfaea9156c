"""The metrics of a cluster, where there is one."""

from grpc_tool_bridge.gateway.cluster_metrics import ClusterCollector


def test_a_hub_without_a_cluster_has_none_of_them() -> None:
    assert list(ClusterCollector({"hub.sessions": 3}).collect()) == []


def test_what_the_cluster_does_not_count_is_left_out() -> None:
    families = list(ClusterCollector({"hub.cluster_links": 2, "hub.cluster_hubs_serving": 3}).collect())
    found = {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}
    assert found == {("tool_bridge_cluster_links",): 2, ("tool_bridge_cluster_hubs", "serving"): 3}
