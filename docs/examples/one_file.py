"""Deploys a model as one file, which a service runs with JAX alone.

    python docs/examples/one_file.py

`jax.export` writes the compiled form of a function: here `synthesize` with the weights in it, for any number
of pictures, and for CPUs and CUDA devices. The service below reads the file in a process that has never
imported mlr_jax. To change weights without a new file, pass the model as an argument instead; the process
that reads the file must then import the module that defines its type.

Pictures go in and come out as float32 `(num, height, width, channels)`; results are not clipped to [0, 1].
JAX promises that its versions of the next six months read the file.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from mlr_jax import synthesis
from mlr_jax.datasets import synthetic

SERVICE = """
import sys
import numpy as np
from jax import export

model, pictures, result = sys.argv[1:]
with open(model, "rb") as file:
    smile = export.deserialize(bytearray(file.read()))
np.save(result, smile.call(np.load(pictures), 1.0))
assert "mlr_jax" not in sys.modules
"""


def write(model: synthesis.ExpressionModel, path: Path) -> None:
    """Writes the model as a function of pictures and an intensity."""
    _, _, _, height, width = model.weights.shape
    channels = len(model.bias)
    (num,) = export.symbolic_shape("num")
    pictures = jax.ShapeDtypeStruct((num, height, width, channels), jnp.float32)
    intensity = jax.ShapeDtypeStruct((), jnp.float32)

    @jax.jit
    def smile(images: jax.Array, intensity: jax.Array) -> jax.Array:
        return synthesis.synthesize(model, images, intensity=intensity)

    path.write_bytes(export.export(smile, platforms=("cpu", "cuda"))(pictures, intensity).serialize())


def main() -> None:
    """Prints the size of the file, and how far the service is from the library."""
    pairs = synthetic.load(image_size=32, channels=3, num_subjects=40)
    model = synthesis.fit(pairs.neutral[:30], pairs.expressive[:30])
    faces = pairs.neutral[30:]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("smile.exported", "faces.npy", "result.npy")]
        write(model, files[0])
        np.save(files[1], faces)
        subprocess.run([sys.executable, "-c", SERVICE, *map(str, files)], check=True)
        result = np.load(files[2])
        size = files[0].stat().st_size
    expected = synthesis.synthesize(model, faces)
    print(f"size of the weights {model.weights.nbytes + model.bias.nbytes:9,d}")
    print(f"size of the file    {size:9,d}")
    print(f"largest difference  {abs(result - expected).max():9.7f}")
    print(f"largest change      {abs(result - faces).max():9.7f}")


if __name__ == "__main__":
    main()
