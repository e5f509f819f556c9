//! Which class should give a page to which: memcached's rule, as a function of figures alone.
//!
//! Once a second each class leaves a sample in a window: the age of its oldest items, its share of
//! all evictions, and whether it is *dirty*, that is, has evicted, run out of memory or taken a
//! page. Over the window,
//!
//! - a class with more than two and a half pages of free chunks that was never dirty gives a page
//!   to the pool, if no memory is left to take;
//! - else the class with the oldest items gives one to the class with the youngest that keeps
//!   evicting, if its age is below a share of the other's.

use crate::arena::{CLASSES_MAX, ClassId};

/// A class that is to give a page for its age must have more pages than this.
const SOURCE_PAGES_MIN: usize = 2;

/// What is known of a class at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClassFigures {
    /// Seconds since the item at the COLD tail was used.
    pub(crate) age: u32,
    /// Items evicted, ever.
    pub(crate) evicted: u64,
    /// Times that no memory could be had, ever.
    pub(crate) outofmemory: u64,
    pub(crate) n_pages: usize,
    pub(crate) chunks_per_page: usize,
    pub(crate) n_free: usize,
}

/// A page to move: from a class, to a class or (`None`) to the page pool.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Move {
    pub(crate) from: ClassId,
    pub(crate) to: Option<ClassId>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    age: u32,
    is_dirty: bool,
    has_evicted: bool,
    evicted_share: f64,
}

/// The samples of all classes.
#[derive(Debug)]
pub(crate) struct Window {
    /// `size` samples a class.
    samples: Vec<Sample>,
    size: usize,
    n_taken: u64,
    /// Where the latest sample is.
    slot: usize,
    before: Vec<ClassFigures>,
}

impl Window {
    /// A window of so many samples. The first figures are what changes are counted from.
    pub(crate) fn new(size: usize, figures: &[ClassFigures]) -> Self {
        Self {
            samples: vec![Sample::default(); size * CLASSES_MAX],
            size,
            n_taken: 0,
            slot: 0,
            before: figures.to_vec(),
        }
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Takes a sample of each class (`figures[n]` is class `n`'s, 0 is not looked at); once a second.
    pub(crate) fn sample(&mut self, figures: &[ClassFigures]) {
        let before = std::mem::replace(&mut self.before, figures.to_vec());
        let changed = |of: fn(&ClassFigures) -> u64, class: usize| {
            of(&figures[class]).saturating_sub(before.get(class).map_or(0, of))
        };
        let evicted = |class| changed(|class| class.evicted, class);
        let evicted_by_all: u64 = (1..figures.len()).map(evicted).sum();
        self.n_taken += 1;
        let slot = usize::try_from(self.n_taken % self.size as u64).expect("below the size");
        self.slot = slot;
        for (number, now) in figures.iter().enumerate().skip(1) {
            let n_evicted = evicted(number);
            let has_starved = changed(|class| class.outofmemory, number) > 0;
            let has_grown = changed(|class| class.n_pages as u64, number) > 0;
            self.samples[number * self.size + slot] = Sample {
                age: now.age,
                is_dirty: n_evicted > 0 || has_starved || has_grown,
                has_evicted: n_evicted > 0,
                evicted_share: if n_evicted == 0 {
                    0.0
                } else {
                    n_evicted as f64 / evicted_by_all as f64
                },
            };
        }
    }

    /// Decides by the samples, and by what each class has free now. As often as there is something
    /// to collect: that takes no sample.
    pub(crate) fn decide(
        &self,
        figures: &[ClassFigures],
        ratio: f64,
        is_used_up: bool,
    ) -> Option<Move> {
        let mut oldest: Option<(ClassId, u64)> = None;
        let mut youngest: Option<(ClassId, u64, bool)> = None;
        for (number, now) in figures.iter().enumerate().skip(1) {
            let class = ClassId::new(number);
            let samples = &self.samples[number * self.size..][..self.size];
            let is_clean = samples.iter().all(|sample| !sample.is_dirty);
            let spare = now.chunks_per_page * 5 / 2;
            if is_used_up && is_clean && now.n_free > spare {
                return Some(Move { from: class, to: None });
            }
            let age =
                samples.iter().map(|sample| u64::from(sample.age)).sum::<u64>() / self.size as u64;
            if age > oldest.map_or(0, |(_, age)| age) && now.n_pages > SOURCE_PAGES_MIN {
                oldest = Some((class, age));
            }
            let n_evicting = samples.iter().filter(|sample| sample.has_evicted).count();
            let share = samples.iter().map(|sample| sample.evicted_share).sum::<f64>();
            let evicts = n_evicting > self.size / 2 || share / self.size as f64 > 0.25;
            if evicts && youngest.is_none_or(|(_, youngest, _)| age < youngest) {
                youngest = Some((class, age, samples[self.slot].has_evicted));
            }
        }
        let ((oldest, oldest_age), (youngest, youngest_age, still_evicts)) = (oldest?, youngest?);
        // A decision needs a full window.
        let is_full = self.n_taken > self.size as u64;
        let is_younger = (youngest_age as f64) < oldest_age as f64 * ratio;
        (is_full && is_younger && still_evicts && oldest != youngest)
            .then_some(Move { from: oldest, to: Some(youngest) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(age: u32, evicted: u64, n_pages: usize, n_free: usize) -> ClassFigures {
        ClassFigures { age, evicted, outofmemory: 0, n_pages, chunks_per_page: 10, n_free }
    }

    /// Shows the same ages for some seconds while class 2 evicts ten items a second.
    fn watch(seconds: u64, old: ClassFigures, ratio: f64) -> Option<Move> {
        let mut figures = vec![ClassFigures::default(), old, class(10, 0, 5, 0)];
        let mut window = Window::new(3, &figures);
        let mut decision = None;
        for _ in 0..seconds {
            figures[2].evicted += 10;
            window.sample(&figures);
            decision = window.decide(&figures, ratio, true);
        }
        decision
    }

    #[test]
    fn the_old_give_to_the_young_that_evict() {
        let (from, to) = (ClassId::new(1), Some(ClassId::new(2)));
        assert_eq!(watch(4, class(100, 0, 3, 0), 0.8), Some(Move { from, to }));
        assert_eq!(watch(3, class(100, 0, 3, 0), 0.8), None, "the window is not full");
        assert_eq!(watch(4, class(100, 0, 2, 0), 0.8), None, "two pages are kept");
        assert_eq!(watch(4, class(12, 0, 3, 0), 0.8), None, "the ages are too close");
    }

    #[test]
    fn free_pages_go_to_the_pool_when_memory_is_used_up() {
        let figures = [ClassFigures::default(), class(0, 0, 5, 26)];
        let to_pool = Some(Move { from: ClassId::new(1), to: None });
        let decide = |figures: &[ClassFigures], is_used_up: bool| {
            let mut window = Window::new(3, figures);
            window.sample(figures);
            window.decide(figures, 0.8, is_used_up)
        };
        assert_eq!(decide(&figures, true), to_pool);
        assert_eq!(decide(&figures, false), None);
        let few = [ClassFigures::default(), class(0, 0, 5, 25)];
        assert_eq!(decide(&few, true), None);
    }

    #[test]
    fn what_is_decided_again_within_a_second_is_no_sample() {
        let (from, to) = (ClassId::new(1), ClassId::new(2));
        let mut figures = [ClassFigures::default(), class(100, 0, 9, 0), class(10, 0, 5, 0)];
        let mut window = Window::new(3, &figures);
        for second in 0..4 {
            figures[2].evicted += 10;
            window.sample(&figures);
            // Collecting pages asks again and again, and finds the figures changed.
            for _ in 0..10 {
                figures[2].evicted += 1;
                let expected = (second == 3).then_some(Move { from, to: Some(to) });
                assert_eq!(window.decide(&figures, 0.8, true), expected, "second {second}");
            }
        }
        // A class that stops evicting does so for whole seconds.
        window.sample(&figures);
        window.sample(&figures);
        assert_eq!(window.decide(&figures, 0.8, true), None);
    }

    #[test]
    fn a_class_that_was_busy_in_the_window_keeps_its_free_pages() {
        let mut figures = [ClassFigures::default(), class(0, 0, 5, 30)];
        let mut window = Window::new(3, &figures);
        figures[1].evicted = 1;
        let mut decide = || {
            window.sample(&figures);
            window.decide(&figures, 0.8, true)
        };
        assert_eq!(decide(), None);
        assert_eq!(decide(), None);
        assert_eq!(decide(), None);
        assert!(decide().is_some());
    }
}
