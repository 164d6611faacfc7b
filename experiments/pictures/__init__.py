"""The pictures that experiments learn from and are tested on.

data                 the flags of the data set, and the pairs that they name
evaluation_sets      what a method is shown: test people, other data sets, drawings, paintings, an animal
out_of_distribution  where these come from that are in no data set
"""
