"""The protocol by which methods are compared.

Imports `gans`, `reporting`, `pictures` and `running`.

    methods            the registry: each method, its regularisation grid and its fixed hyper-parameters
    options            the flags of experiments that compare methods
    folds              the folds of a cross-validation as arrays
    cross_validation   the choice from a grid, on training people
    trials             one method on one split: chosen, fitted, measured
    sessions           one run of an experiment: its folder, its splits, its config.json
    sweep              the loop over the points of an experiment, which resumes after a stop
    comparison         that loop for every method at every point; outcomes has its results
    comparison_tables  its tables, as files and printed
    gan_training       methods and GANs of `experiments.gan_comparison`
    summary            means, standard errors and paired tests of several splits
"""
