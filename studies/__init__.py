"""Plan, queue, results, analysis and command line of the study service. Never imports torch."""
