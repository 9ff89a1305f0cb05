//! Memory for children, kept from one start to the next.
//!
//! A mapping, its guard and its first pages cost a start more system calls than all that its child
//! does. A child has left its memory when its birth has come to an end, so that the next one may
//! have it; what somebody still holds, to give a word through it, is not kept.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::sys::spawn::ChildMemory;

/// Most that are kept: as many as there can be births at once. Each has touched three pages.
const KEPT_MAX: usize = super::launchers::LAUNCHERS_MAX;

/// What is kept.
#[derive(Default)]
pub(super) struct ChildMemories(Mutex<Vec<ChildMemory>>);

impl ChildMemories {
    /// Memory for one child.
    ///
    /// # Errors
    /// There is none.
    pub fn take(&self) -> io::Result<Arc<ChildMemory>> {
        let kept = self.lock().pop();
        match kept {
            Some(mut memory) => {
                memory.renew();
                Ok(Arc::new(memory))
            }
            None => ChildMemory::new().map(Arc::new),
        }
    }

    /// Keeps memory whose child has left it, unless a word may still be given through it: that
    /// must not reach another child.
    pub fn give_back(&self, memory: Arc<ChildMemory>) {
        let Some(memory) = Arc::into_inner(memory) else {
            return;
        };
        let mut kept = self.lock();
        if kept.len() < KEPT_MAX {
            kept.push(memory);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<ChildMemory>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(memories: &ChildMemories) -> usize {
        memories.lock().len()
    }

    #[test]
    fn memory_is_used_again_but_not_while_a_word_may_come_through_it() {
        let memories = ChildMemories::default();
        let memory = memories.take().unwrap();
        let held = Arc::clone(&memory);
        memories.give_back(memory);
        assert_eq!(
            kept(&memories),
            0,
            "somebody could still speak to its child"
        );
        memories.give_back(held);
        assert_eq!(kept(&memories), 1);
        let again = memories.take().unwrap();
        assert_eq!(kept(&memories), 0);
        drop(again);
    }

    #[test]
    fn no_more_is_kept_than_there_are_births_at_once() {
        let memories = ChildMemories::default();
        let all: Vec<_> = (0..KEPT_MAX + 1)
            .map(|_| memories.take().unwrap())
            .collect();
        all.into_iter()
            .for_each(|memory| memories.give_back(memory));
        assert_eq!(kept(&memories), KEPT_MAX);
    }
}
