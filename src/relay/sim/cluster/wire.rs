//! A link between two simulated nodes.

use crate::relay::{Frame, Lane};
use std::collections::{BTreeMap, VecDeque};

/// What a side knows of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Up,
    /// It is gone, and the side has not noticed.
    Stale,
    Down,
}

#[derive(Debug)]
pub struct Wire {
    /// The two sides; the first is that of the node with the lower index.
    pub sides: [Side; 2],
    /// How many links there were; a node that has not heard of the latest sends nothing over it.
    pub generation: u64,
    /// No new link can be made.
    pub blocked: bool,
    /// Directions in which nothing gets through for the moment, by the sending side.
    pub deaf: [bool; 2],
    /// Frames on their way, by the sending side and the lane.
    lanes: BTreeMap<(usize, Lane), VecDeque<Frame>>,
}

impl Wire {
    pub fn new() -> Self {
        Self {
            generation: 0,
            sides: [Side::Down; 2],
            blocked: false,
            deaf: [false; 2],
            lanes: BTreeMap::new(),
        }
    }

    pub fn is_up(&self) -> bool {
        self.sides == [Side::Up; 2]
    }

    /// The link breaks: what is on it is lost, and the sides notice when they do.
    pub fn cut(&mut self) {
        for side in &mut self.sides {
            if *side == Side::Up {
                *side = Side::Stale;
            }
        }
        self.lanes.clear();
        self.deaf = [false; 2];
    }

    pub fn send(&mut self, side: usize, generation: Option<u64>, frame: Frame) {
        // What is meant for a link that is gone is lost.
        if self.is_up() && generation == Some(self.generation) {
            self.lanes.entry((side, frame.lane())).or_default().push_back(frame);
        }
    }

    /// Lanes with something to deliver.
    pub fn ready(&self) -> Vec<(usize, Lane)> {
        self.lanes
            .iter()
            .filter(|((side, _), frames)| !frames.is_empty() && !self.deaf[*side])
            .map(|(key, _)| *key)
            .collect()
    }

    pub fn take(&mut self, key: (usize, Lane)) -> Option<Frame> {
        self.lanes.get_mut(&key)?.pop_front()
    }

    pub fn is_empty(&self) -> bool {
        self.lanes.values().all(VecDeque::is_empty)
    }
}
