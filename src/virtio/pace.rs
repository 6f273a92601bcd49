//! Whether a queue's thread looks at its ring for a moment before it sleeps.
//!
//! Waking a thread on another core takes some 50 µs, many times what a small
//! read takes. A guest that keeps several requests in flight sends the next ones
//! just after the thread has gone to sleep; looking for a moment longer finds
//! them. A guest that waits for each reply does not send sooner for being looked
//! for, so there the thread sleeps at once.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Sleeps shorter than this many windows would have been worth a look.
const WORTH: u32 = 2;

/// The pace of one queue.
pub(super) struct Pace {
    window: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    slept: Option<Instant>,
    looking: bool,
}

impl Pace {
    /// A pace that looks for at most `window`; zero never looks.
    pub(super) fn new(window: Duration) -> Self {
        Self {
            window,
            state: Mutex::default(),
        }
    }

    /// The thread was woken: a short sleep says that looking pays.
    pub(super) fn woken(&self) {
        let mut state = self.state.lock();
        let slept = state.slept.map(|since| since.elapsed());
        if slept.is_some_and(|slept| slept < self.window * WORTH) {
            state.looking = true;
        }
    }

    /// The thread is about to sleep.
    pub(super) fn sleeps(&self) {
        if !self.window.is_zero() {
            self.state.lock().slept = Some(Instant::now());
        }
    }

    /// Looks with `ready` until it says yes or the window is over. One look in
    /// vain ends the looking until a short sleep begins it again.
    pub(super) fn look(&self, mut ready: impl FnMut() -> Look) -> bool {
        if self.window.is_zero() || !self.state.lock().looking {
            return false;
        }
        let begun = Instant::now();
        loop {
            match ready() {
                Look::Ready => return true,
                Look::GiveUp => break,
                Look::Empty if begun.elapsed() >= self.window => break,
                Look::Empty => std::hint::spin_loop(),
            }
        }
        self.state.lock().looking = false;
        false
    }
}

/// What a look at the ring found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Look {
    /// A request.
    Ready,
    /// Nothing yet.
    Empty,
    /// A ring that is not to be served.
    GiveUp,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_short_sleep_begins_the_looking_and_a_vain_look_ends_it() {
        let pace = Pace::new(LONG);
        assert!(!pace.look(|| panic!("not looked before a short sleep")));
        pace.sleeps();
        pace.woken();
        let mut looks = 0;
        assert!(pace.look(|| {
            looks += 1;
            if looks == 3 { Look::Ready } else { Look::Empty }
        }));
        assert!(!pace.look(|| Look::GiveUp));
        assert!(!pace.look(|| panic!("not looked after a look in vain")));
    }

    #[test]
    fn a_window_of_zero_never_looks() {
        let pace = Pace::new(Duration::ZERO);
        pace.sleeps();
        pace.woken();
        assert!(!pace.look(|| panic!("looked")));
    }

    #[test]
    fn a_look_ends_with_its_window() {
        let pace = Pace::new(Duration::from_nanos(1));
        pace.state.lock().looking = true;
        assert!(!pace.look(|| Look::Empty));
    }
}
