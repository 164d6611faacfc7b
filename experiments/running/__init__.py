"""What every script needs: errors, the output folder, finished results, memory, time.

script             starts an experiment; a user's mistake is one line
run_folder         the output folder: config.json, tables, files that are replaced atomically
result_cache       finished results, found again by everything that they depend on
compilation_cache  compiled programs for the next run
memory, timing     what a computation takes
streaming          sums over pairs that are read one by one; checkpoint keeps them on disk
local_processes    several JAX processes on one machine
"""
