"""What `benchmark` and `device_check` measure.

Imports all other packages; only scripts import it.

    measuring            how long a function takes, and what the machine does at best
    fit_cases            the fits that are measured, and the time that none can do without
    peers                other implementations of a fit, in NumPy, scikit-learn and plain JAX
    tables               the results as Markdown and as a figure
    streaming_benchmark  training from a disk
    first_calls          first calls in new processes, each of which runs first_call_process
    device_parts         the parts of `device_check`; device_processes starts each in a process of its own
"""
