"""Compiles a file as the backend does at run time, with NVRTC alone: no header of the system or of CUDA is there.

Usage: nvrtc.py LIBNVRTC FILE. Prints warnings; fails if there are any.
"""

import ctypes
import sys

# Versions of devices, and the stages of the products that fit into their shared memory.
DEVICES = [(90, 4), (86, 2), (80, 3)]


def text(nvrtc, what, program):
    """The log or the PTX of a program."""
    size = ctypes.c_size_t()
    getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    getattr(nvrtc, f"nvrtcGet{what}")(program, buffer)
    return buffer.value.decode()


def main(library, path):
    nvrtc = ctypes.CDLL(library)
    with open(path, "rb") as file:
        source = file.read()
    for version, stages in DEVICES:
        options = [f"--gpu-architecture=sm_{version}", "--std=c++17", f"-DMATMUL_STAGES={stages}"]
        kernels = compiled(nvrtc, source, options).count(".entry ")
        print(f"NVRTC compiles {kernels} kernels for version {version} without a warning")


def compiled(nvrtc, source, options):
    """The PTX of a source."""
    program = ctypes.c_void_p()
    if nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"kernels.cu", 0, None, None) != 0:
        sys.exit("NVRTC makes no program")
    given = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
    result = nvrtc.nvrtcCompileProgram(program, len(options), given)
    log = text(nvrtc, "ProgramLog", program)
    if result != 0 or log.strip():
        sys.exit(f"NVRTC: {options}: result {result}\n{log}")
    return text(nvrtc, "PTX", program)


if __name__ == "__main__":
    main(*sys.argv[1:])
