"""The shared code of `windows`, `window_statistics`, `window_dual` and `window_linear`.

Nothing here checks its arguments: these public modules do. From the bottom up:

    window          Window, and the table of the lag images that its regressions need
    regularization  penalty, factors and whether the bias is penalised, as one value
    lines           pictures as lines, along which a shift is an offset
    strips          pictures cut into strips of rows with halos, which fit into a cache
    elimination     small linear systems, solved side by side with the pixel axis last
    linear          the map from pictures to pictures, and predictions by it
    channels        which channels of a picture are fitted together
    statistics      the sums over pairs, added, subtracted and restricted to smaller windows
    accumulation    from pairs of pictures to these sums
    moments         from sums to means and covariances
    ridge           from means and covariances to weights and errors
    primal          from statistics to weights and errors, strip by strip
    dual            from pairs of pictures to weights, by sliding kernels
"""
