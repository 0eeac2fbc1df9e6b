"""Learners: a network and all that learning remembers of it, one class for each way to learn.

An estimator *has* a learner. Estimators check what users give and answer in the users' terms;
learners own the arrays; kernels compute.
"""
