"""brokerkit beside the raw client and beside FastStream, in one run on one machine: `python -m benchmarks`.

Each figure is a process of its own (`benchmarks.measure`); contenders take turns, and what is compared is the ratio
within one turn, so that a machine whose speed changes does not decide the result.
"""
