"""Compiles a file as the backend does at run time, with NVRTC alone: no header of the system or of CUDA is there.

Usage: nvrtc.py LIBNVRTC FILE. Prints warnings; fails if there are any.
"""

import ctypes
import sys

OPTIONS = ["--gpu-architecture=compute_90", "--std=c++17"]


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
    program = ctypes.c_void_p()
    if nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"kernels.cu", 0, None, None) != 0:
        sys.exit("NVRTC makes no program")
    options = (ctypes.c_char_p * len(OPTIONS))(*(o.encode() for o in OPTIONS))
    result = nvrtc.nvrtcCompileProgram(program, len(OPTIONS), options)
    log = text(nvrtc, "ProgramLog", program)
    if result != 0 or log.strip():
        sys.exit(f"NVRTC: result {result}\n{log}")
    kernels = text(nvrtc, "PTX", program).count(".entry ")
    print(f"NVRTC compiles {kernels} kernels without a warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
