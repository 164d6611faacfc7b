"""Expressions on whole photographs, of any size.

    files           a photograph on disk, upright, with its transparency and colour profile
    faces           where faces are: found by themselves, or said by whoever knows
    expressions     cut a face out, change its expression, put it back
    blending        how it is put back, in JAX
    on_host         cutting out and putting back in NumPy, which compiles nothing
    models_on_host  what models make of one face, in NumPy

What is made here is synthetic: it shows what nobody photographed. Use it on pictures of people who agree to
it, and say what it is wherever it is shown.
"""
