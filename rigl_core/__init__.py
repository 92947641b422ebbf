"""Sparse training in PyTorch: RigL, its relatives, and the models, data and FLOPs to study them.

The modules that only describe (`config`, `methods`, `distributions`, `schedules`, `errors` and the registries in
`models` and `data`) do not import torch, so that planning and reporting stay quick.
"""
