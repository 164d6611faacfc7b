"""What `benchmark` and `device_check` measure.

Imports all other packages; only scripts import it.

    measuring            the time of a function, and the machine's peak rates
    fit_cases            the measured fits, and the least time of each
    peers                other implementations of a fit, in NumPy, scikit-learn and plain JAX
    tables               the results as Markdown and as a figure
    streaming_benchmark  training from a disk
    first_calls          first calls in new processes, which run first_call_process
    device_parts         the parts of `device_check`; device_processes starts each in a new process
"""
