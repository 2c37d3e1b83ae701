// Streams as queues that nothing empties until somebody has to wait: whoever does not wait for what he needs,
// on the host or by an event in another stream, always gets the bytes from before.
#pragma once
#include "faults.h"
#include <chrono>
#include <deque>
#include <functional>
#include <memory>

struct Device;

struct Stream {
    Device* device;
    std::deque<std::function<void()>> queue;
    Held held;

    void step() {
        auto work = std::move(queue.front());
        queue.pop_front();
        work();
    }
    void drain() {
        while (!queue.empty()) step();
    }
};

// One recording of an event. Its stream outlives it: a stream is drained before it goes.
struct Record {
    Stream* stream;
    bool done = false;
    std::chrono::steady_clock::time_point when;

    void reach() {
        while (!done) stream->step();
    }
};

struct Event {
    std::shared_ptr<Record> last;
    Held held;

    void record(Stream& s) {
        last = std::make_shared<Record>();
        last->stream = &s;
        s.queue.push_back([record = last] {
            record->done = true;
            record->when = std::chrono::steady_clock::now();
        });
    }
};

inline void wait_for(Stream& s, const Event& e) {
    if (e.last) {
        s.queue.push_back([record = e.last] { record->reach(); });
    }
}
