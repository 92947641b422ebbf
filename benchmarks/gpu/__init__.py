"""All figures of a GPU in one command, in less than nine minutes, without a network: `python -m benchmarks.gpu`.

Images are made up, of the shapes and numbers of CIFAR's. Every part has a limit of its own, and one that fails costs
no other; what a machine cannot measure is told with the reason.
"""
