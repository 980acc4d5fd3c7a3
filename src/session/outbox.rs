//! Bytes on their way to one connection.
//!
//! Small frames lie one behind the other in one buffer; payloads too large to copy are kept as shared segments between
//! them. A flusher takes the whole outbox, writes it without holding any lock, and puts back what the socket refused.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

/// Most slices offered to one vectored write.
pub const MAX_SLICES: usize = 64;

/// Outbound bytes of one connection, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    buffer: Vec<u8>,
    /// How much of `buffer` is written already.
    written: usize,
    /// Shared payloads and the place in `buffer` each comes before.
    shared: VecDeque<(usize, Bytes)>,
    shared_len: usize,
}

impl Outbox {
    /// Bytes not written yet.
    pub fn len(&self) -> usize {
        self.buffer.len() - self.written + self.shared_len
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where encoders append. Only bytes behind the current end may be changed.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        if self.buffer.capacity() == 0 {
            self.buffer = spare_buffer();
        }
        &mut self.buffer
    }

    /// Appends a payload without copying it.
    pub fn push_shared(&mut self, payload: Bytes) {
        if !payload.is_empty() {
            self.shared_len += payload.len();
            self.shared.push_back((self.buffer.len(), payload));
        }
    }

    /// Takes everything out, leaving an empty outbox that holds no memory.
    pub fn take(&mut self) -> Outbox {
        std::mem::take(self)
    }

    /// Puts `rest`, which was taken earlier, back in front of what has been appended since.
    pub fn put_back(&mut self, mut rest: Outbox) {
        if !self.is_empty() {
            let offset = rest.buffer.len();
            rest.buffer.extend_from_slice(&self.buffer[self.written..]);
            let written = self.written;
            rest.shared.extend(self.shared.drain(..).map(|(at, payload)| (at - written + offset, payload)));
            rest.shared_len += self.shared_len;
        }
        self.recycle();
        *self = rest;
        self.compact();
    }

    /// Gives back the memory of what is written, so that a reader who is always behind costs no more than he is behind.
    fn compact(&mut self) {
        if self.written > self.buffer.len() / 2 {
            self.buffer.drain(..self.written);
            for (at, _) in &mut self.shared {
                *at -= self.written;
            }
            self.written = 0;
        }
    }

    /// Fills `slices` with what is to be written first; returns how many it used.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; MAX_SLICES]) -> usize {
        let mut from = self.written;
        let mut count = 0;
        for (at, payload) in &self.shared {
            if count + 2 > MAX_SLICES {
                return count;
            }
            if *at > from {
                slices[count] = IoSlice::new(&self.buffer[from..*at]);
                count += 1;
            }
            slices[count] = IoSlice::new(payload);
            count += 1;
            from = *at;
        }
        if count < MAX_SLICES && from < self.buffer.len() {
            slices[count] = IoSlice::new(&self.buffer[from..]);
            count += 1;
        }
        count
    }

    /// The first contiguous bytes, and whether they are all there is.
    pub fn first(&self) -> (&[u8], bool) {
        match self.shared.front() {
            None => (&self.buffer[self.written..], true),
            Some((at, _)) if *at > self.written => (&self.buffer[self.written..*at], false),
            Some((_, payload)) => (payload, false),
        }
    }

    /// A copy of all bytes that are not written yet.
    pub fn to_vec(&self) -> Vec<u8> {
        let (mut copy, mut from) = (Vec::with_capacity(self.len()), self.written);
        for (at, payload) in &self.shared {
            copy.extend_from_slice(&self.buffer[from..*at]);
            copy.extend_from_slice(payload);
            from = *at;
        }
        copy.extend_from_slice(&self.buffer[from..]);
        copy
    }

    /// Notes that the first `count` bytes were written.
    pub fn advance(&mut self, mut count: usize) {
        while let Some((at, payload)) = self.shared.front_mut() {
            let before = (*at - self.written).min(count);
            self.written += before;
            count -= before;
            if *at > self.written {
                return;
            }
            if count < payload.len() {
                bytes::Buf::advance(payload, count);
                self.shared_len -= count;
                return;
            }
            count -= payload.len();
            self.shared_len -= payload.len();
            self.shared.pop_front();
        }
        self.written += count;
        debug_assert!(self.written <= self.buffer.len());
        if self.is_empty() {
            self.recycle();
        }
    }

    /// Empties the outbox and gives its buffer to the next one that needs one on this thread.
    pub fn recycle(&mut self) {
        recycle_buffer(std::mem::take(&mut self.buffer));
        *self = Outbox::default();
    }
}

/// Most bytes of unused buffers that a thread keeps.
const SPARE_BYTES: usize = 4 << 20;
/// Larger buffers go back to the allocator.
const SPARE_BUFFER_MAX: usize = 64 << 10;

thread_local! {
    static SPARE: RefCell<(usize, Vec<Vec<u8>>)> = const { RefCell::new((0, Vec::new())) };
}

fn spare_buffer() -> Vec<u8> {
    SPARE.with_borrow_mut(|(total, buffers)| match buffers.pop() {
        Some(buffer) => {
            *total -= buffer.capacity();
            buffer
        }
        None => Vec::with_capacity(512),
    })
}

fn recycle_buffer(mut buffer: Vec<u8>) {
    let capacity = buffer.capacity();
    if capacity == 0 || capacity > SPARE_BUFFER_MAX {
        return;
    }
    buffer.clear();
    SPARE.with_borrow_mut(|(total, buffers)| {
        if *total + capacity <= SPARE_BYTES {
            *total += capacity;
            buffers.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn contents(outbox: &Outbox) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = outbox.slices(&mut slices);
        slices[..count].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Append(Vec<u8>),
        Share(Vec<u8>),
        Write(usize),
        TakeAppendPutBack(usize, Vec<u8>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..20);
        let step = prop_oneof![
            bytes().prop_map(Step::Append),
            bytes().prop_map(Step::Share),
            (0..60usize).prop_map(Step::Write),
            ((0..60usize), bytes()).prop_map(|(n, b)| Step::TakeAppendPutBack(n, b)),
        ];
        proptest::collection::vec(step, 0..20)
    }

    proptest! {
        #[test]
        fn an_outbox_is_the_queue_of_bytes_it_stands_for(steps in steps()) {
            let mut outbox = Outbox::default();
            let mut model: Vec<u8> = Vec::new();
            for step in steps {
                let put_back = matches!(step, Step::TakeAppendPutBack(..));
                match step {
                    Step::Append(bytes) => {
                        outbox.buffer().extend_from_slice(&bytes);
                        model.extend(bytes);
                    }
                    Step::Share(bytes) => {
                        outbox.push_shared(Bytes::from(bytes.clone()));
                        model.extend(bytes);
                    }
                    Step::Write(count) => {
                        let count = count.min(model.len());
                        outbox.advance(count);
                        model.drain(..count);
                    }
                    Step::TakeAppendPutBack(count, bytes) => {
                        let mut taken = outbox.take();
                        outbox.buffer().extend_from_slice(&bytes);
                        outbox.push_shared(Bytes::from(bytes.clone()));
                        let count = count.min(model.len());
                        taken.advance(count);
                        model.drain(..count);
                        outbox.put_back(taken);
                        model.extend(&bytes);
                        model.extend(&bytes);
                    }
                }
                prop_assert_eq!(outbox.len(), model.len());
                if put_back {
                    prop_assert!(outbox.buffer.len() <= 2 * outbox.len() + 1, "what is written takes no memory");
                }
                prop_assert_eq!(contents(&outbox), model.clone());
            }
        }
    }
}
