"""The protocol by which methods are compared.

methods           the registry
hyperparameters   regularisation grids and fixed values
cross_validation  the choice from a grid, on training people
shared_errors     held-out errors of many candidates from work that they share
trials            one method on one split
comparison        an experiment: flags, all methods on all splits, tables
summary           means, standard errors and paired tests
"""
