"""All figures of a GPU in one command, in less than nine minutes, without a network: `python -m benchmarks.gpu`.

What comes too late for those minutes, the compiled networks at the end say, is had by `--only`.

Images are made up, of the shapes and numbers of CIFAR's. Every part has a limit of its own, and one that fails costs
no other; what a machine cannot measure is told with the reason.
"""
