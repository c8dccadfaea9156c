"""The page runs its own scripts, and no others."""

from grpc_tool_bridge.gateway.pages import content_policy


def test_the_policy_lets_what_is_in_the_page_run_and_nothing_that_is_put_into_it() -> None:
    policy = content_policy("<style>a{}</style><script>1</script><script>2</script>")
    one = "sha256-a4ayc/80/OGda4BO/1o/V0etpOqiLx1JwB5S3beHW0s="
    two = "sha256-1HNeOiZeFu7gP1lxi5tdAwGcB9i2xR+Q2jpmbuwTqzU="
    assert f"script-src '{one}' '{two}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
