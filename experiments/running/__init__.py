"""What every script needs: errors, the output folder, finished results, memory, time.

Imports nothing else of `experiments`.

    script             starts an experiment; a user's mistake is one line
    flag_values        flags that are repeated or list names
    run_folder         the output folder: config.json, tables, files that are replaced atomically
    result_cache       finished results, by everything that they depend on
    compilation_cache  compiled programs for the next run
    memory, timing     memory and time of a computation
    checkpoint         arrays from which stopped work resumes
    signals            Ctrl-C, for work that saves its state before it ends
    native_log         keeps native libraries' logs out of a script's messages
    streaming          sums over pairs that are read one by one
    local_processes    several JAX processes on one machine
"""
