"""Expressions on whole photographs, of any size.

    files        photographs on disk, upright, with their transparency and colour profile
    faces        finds faces in them
    cutouts      cuts a face out, aligned
    expressions  changes its expression, and puts it back
    blending     the soft edge, and putting back in JAX

The results are synthetic, not photographs of an expression that was there. Use this on pictures of people who
agree to it, and label the results wherever they are shown.
"""
