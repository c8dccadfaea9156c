"""The tools of a bridge as those of a framework; one module for each, imported on demand."""
