"""The pictures that experiments learn from and are tested on.

Imports `running`.

    data                 the flags of the data set, and the pairs that they name
    splits               folds of training pairs, and fewer training pairs
    evaluation_sets      the pictures to test on: test people, other data sets, drawings, paintings, an animal
    out_of_distribution  those of them that are in no data set
"""
