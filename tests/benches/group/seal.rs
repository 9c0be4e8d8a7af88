//! What sealing and opening cost by themselves: one frame after the other, on one processor.

use std::{hint::black_box, time::Duration};

use anyhow::Result;
use parlor_proto::{
    group::lanes::{Lane, Lanes},
    time::Timestamp,
};

use crate::{
    record::{cpu, median},
    site::{keys, peer},
};

/// Frames in one measurement.
const FRAMES: usize = 2_000;
/// Measurements, of which the middle one counts.
const ROUNDS: usize = 25;

/// Of one frame, nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) seal: f64,
    pub(crate) open: f64,
}

impl Cost {
    /// Of one delivery to one of `members`: a message is sealed once for all of them.
    pub(crate) fn per_delivery(&self, members: usize) -> f64 {
        self.seal / (members - 1) as f64 + self.open
    }
}

/// In a group of `members`, with plaintexts of `size` bytes.
pub(crate) fn cost(lane: Lane, members: usize, size: usize) -> Result<Cost> {
    let keys = keys(members)?;
    let mut sender = Lanes::new(&keys[0], 1)?;
    let mut receiver = Lanes::new(&keys[members - 1], 1)?;
    let (source, plaintext) = (peer(0), vec![0x5a; size]);
    let (mut seal, mut open) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let started = cpu();
        let mut frames = Vec::with_capacity(FRAMES);
        for _ in 0..FRAMES {
            frames.push(sender.seal(lane, black_box(&plaintext), rand::random())?);
        }
        let sealed = cpu();
        for frame in &frames {
            black_box(receiver.open(lane, source, black_box(frame), Timestamp(0))?);
        }
        seal.push(each(sealed - started));
        open.push(each(cpu() - sealed));
    }
    Ok(Cost { seal: median(seal), open: median(open) })
}

fn each(all: Duration) -> f64 {
    all.as_nanos() as f64 / FRAMES as f64
}
