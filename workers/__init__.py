"""Workers: pull a trial, train it, tell the result."""
