"""All figures of a GPU in one command, in less than nine minutes, without a network: `python -m benchmarks.gpu`.

What the goals are about comes first; what comes too late for those minutes, the ideas at the end say, is had by
`--only`.

Images are made up, of the shapes and numbers of CIFAR's. Every part has a limit of its own. One that fails costs no
other: a new process goes on with those, and a file has the figures so far. What a machine cannot measure is told with
the reason.
"""
