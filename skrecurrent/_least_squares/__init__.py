"""All of the least-squares fit of ``RTRLRegressor``: what the solver "lm" does.

``fit.py``       what the estimator calls: ``fit``, ``conclude``, ``nbytes``. Start to read here.
``race.py``      several starts, the rows that judge them, and what becomes of the best one.
``starts.py``    the networks that a race may start from.
``descent.py``   Levenberg-Marquardt from one start.
``problem.py``   errors and derivatives of a network over given rows; the equations of a step.
``readout.py``   output rows by the most probable ridge regression, also for echo state networks.
``feedback.py``  problem and descent of networks whose outputs feed something back.

Each module knows those below it only, ``feedback.py`` the problem.
"""
