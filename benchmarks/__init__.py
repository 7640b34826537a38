"""brokerkit beside the raw client and beside FastStream, in one run on one machine: `python -m benchmarks`.

A separate process measures each figure (`benchmarks.measure`). Contenders take turns, and ratios are taken within one turn,
so that a machine whose speed changes does not decide the result.
"""
