"""Learners: a network and all that it remembers; one class for each way to learn.

An estimator *has* a learner. Estimators check what users give, and answer in the users' terms.
Learners own the arrays. Kernels compute.
"""
