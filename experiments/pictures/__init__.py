"""The pictures that experiments learn from and are tested on.

Imports `running`.

    data                 the flags of the data set, and the pairs that they name
    splits               people split into training and test sets and into folds, as indices
    evaluation_sets      what a method is shown: test people, other data sets, drawings, paintings, an animal
    out_of_distribution  the pictures of these that are in no data set
"""
