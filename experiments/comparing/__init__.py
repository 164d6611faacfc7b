"""The protocol by which methods are compared.

methods           the registry: each method, its regularisation grid and its fixed hyper-parameters
folds             the folds of a cross-validation as arrays
cross_validation  the choice from a grid, on training people
trials            one method on one split: chosen, fitted, measured
comparison        all methods on all splits, with the flags of a comparison
summary           means, standard errors and paired tests
"""
