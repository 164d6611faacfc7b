"""What `benchmark` and `device_check` measure.

peers                other ways to fit, in NumPy, scikit-learn and plain JAX
tables               the results as Markdown and as a figure
streaming_benchmark  training from a disk
first_calls          first calls in new processes, each of which runs first_call_process
device_parts         the parts of `device_check`; device_processes starts each in a process of its own
"""
