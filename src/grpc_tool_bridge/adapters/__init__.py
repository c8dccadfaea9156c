"""The tools of a bridge as the tools of a framework: one module for each, imported only when it is asked for."""
