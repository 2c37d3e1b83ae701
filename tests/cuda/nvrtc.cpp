// A stand-in for NVRTC 13.0: what it "compiles" is the text itself, marked for driver.cpp.
#include <cstring>
#include <string>

#define API extern "C" __attribute__((visibility("default"))) int

enum Result { SUCCESS = 0, INVALID_INPUT = 3, INVALID_PROGRAM = 4 };

struct Program {
    std::string text, image;
};

API nvrtcVersion(int* major, int* minor) {
    *major = 13;
    *minor = 0;
    return SUCCESS;
}
extern "C" __attribute__((visibility("default"))) const char* nvrtcGetErrorString(int error) {
    return error == SUCCESS         ? "NVRTC_SUCCESS"
           : error == INVALID_INPUT ? "NVRTC_ERROR_INVALID_INPUT"
                                    : "NVRTC_ERROR";
}
API nvrtcGetNumSupportedArchs(int* out) {
    *out = 1;
    return SUCCESS;
}
API nvrtcGetSupportedArchs(int* out) {
    *out = 90;
    return SUCCESS;
}
API nvrtcCreateProgram(
    Program** out, const char* text, const char*, int headers, const char* const*, const char* const*) {
    if (text == nullptr || headers != 0) return INVALID_INPUT;
    *out = new Program{text, ""};
    return SUCCESS;
}
API nvrtcDestroyProgram(Program** p) {
    delete *p;
    *p = nullptr;
    return SUCCESS;
}
API nvrtcCompileProgram(Program* p, int, const char* const*) {
    p->image = "// emulated\n" + p->text + "// end\n";
    return SUCCESS;
}

// The image, with the zero that ends it; none before it is compiled.
static int size_of(Program* p, size_t* out) {
    *out = p->image.size() + 1;
    return p->image.empty() ? INVALID_PROGRAM : SUCCESS;
}
static int copy_of(Program* p, char* out) {
    memcpy(out, p->image.c_str(), p->image.size() + 1);
    return p->image.empty() ? INVALID_PROGRAM : SUCCESS;
}
API nvrtcGetPTXSize(Program* p, size_t* out) { return size_of(p, out); }
API nvrtcGetPTX(Program* p, char* out) { return copy_of(p, out); }
API nvrtcGetCUBINSize(Program* p, size_t* out) { return size_of(p, out); }
API nvrtcGetCUBIN(Program* p, char* out) { return copy_of(p, out); }
API nvrtcGetProgramLogSize(Program*, size_t* out) {
    *out = 1;
    return SUCCESS;
}
API nvrtcGetProgramLog(Program*, char* out) {
    *out = 0;
    return SUCCESS;
}
