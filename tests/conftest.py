"""For all floors."""

# Its pytest plugin imports it at the end of a run that had no use for it, and CPython 3.11's compiler then
# trips over the depth of recursion that Pulumi's mocks leave behind ("AST constructor recursion depth").
import hypothesis.core
import hypothesis.internal.observability  # noqa: F401
