//! The ladder of slab classes: which chunk sizes exist, and which one an item needs.

/// One more than the highest class number; class 0 is the global page pool.
pub(crate) const CLASSES_MAX: usize = 128;

/// The same for memcached's ladder.
pub(crate) const COMPAT_CLASSES_MAX: usize = 64;

/// The header that memcached's smallest class is computed with: its ladder is kept, number by
/// number, although our header is smaller, so that `stats slabs` shows what operators know.
const LADDER_HEADER_BYTES: usize = 48;

/// By how much a factor that makes too many classes is raised at a time.
const LEAN_FACTOR_STEP: f64 = 1.002;

/// The number of a slab class, 1 to 127.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct ClassId(u8);

impl ClassId {
    pub(crate) fn new(number: usize) -> Self {
        assert!((1..CLASSES_MAX).contains(&number), "class numbers are 1 to 127");
        Self(number.to_le_bytes()[0])
    }

    pub(crate) fn idx(self) -> usize {
        usize::from(self.0)
    }

    pub(crate) fn number(self) -> u8 {
        self.0
    }
}

/// Chunk sizes by class number.
#[derive(Debug)]
pub(crate) struct Ladder {
    /// `sizes[0]` is unused; `sizes[n]` is the chunk size of class `n`.
    sizes: Vec<usize>,
    page_bytes: usize,
    /// The class for each size up to [`LOOKUP_BYTES_MAX`], by units of 8 bytes: most items are so
    /// small, and a search in the sizes costs ten times a look.
    by_size: Box<[u8]>,
}

/// The largest size whose class is looked up in a table: 1 KiB of it.
const LOOKUP_BYTES_MAX: usize = 8 << 10;

impl Ladder {
    /// memcached's ladder: from `48 + chunk_size_min`, each the factor times the one before,
    /// rounded up to 8 bytes (or `unit`, where ids need more), and `chunk_max` last.
    pub(crate) fn new(
        chunk_size_min: usize,
        factor: f64,
        chunk_max: usize,
        unit: usize,
        page_bytes: usize,
    ) -> Self {
        let mut sizes = vec![0];
        let mut size = LADDER_HEADER_BYTES + chunk_size_min;
        // The class below the last must be smaller than the last by the factor, and the numbers
        // end at 63 whatever the factor is.
        while sizes.len() < COMPAT_CLASSES_MAX - 1 && (size as f64) < chunk_max as f64 / factor {
            size = size.next_multiple_of(unit);
            sizes.push(size);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a positive number below chunk_max"
            )]
            let next = (size as f64 * factor) as usize;
            // A factor close to 1 would not get on at all.
            size = next.max(size + 1);
        }
        sizes.push(chunk_max);
        Self::of(sizes, page_bytes)
    }

    /// A ladder of given sizes (`-o slab_sizes`), ascending, rounded up to `unit`, and `chunk_max`
    /// last.
    pub(crate) fn of_sizes(
        given: &[usize],
        chunk_max: usize,
        unit: usize,
        page_bytes: usize,
    ) -> Self {
        let rounded = given.iter().map(|size| size.next_multiple_of(unit));
        let below = rounded.filter(|&size| size < chunk_max).take(COMPAT_CLASSES_MAX - 2);
        let sizes = std::iter::once(0).chain(below).chain([chunk_max]).collect();
        Self::of(sizes, page_bytes)
    }

    /// The lean ladder: from `smallest`, each the factor times the one before, rounded down to
    /// `unit`, and `chunk_max` last. A size grows to the largest of which as many make a page, so
    /// that nothing is left over at the end of one but what rounding leaves. Where the numbers
    /// would not do, the factor is raised until they do.
    pub(crate) fn lean(
        smallest: usize,
        mut factor: f64,
        chunk_max: usize,
        unit: usize,
        page_bytes: usize,
    ) -> Self {
        loop {
            let sizes = Self::lean_sizes(smallest, factor, chunk_max, unit, page_bytes);
            if sizes.len() <= CLASSES_MAX {
                return Self::of(sizes, page_bytes);
            }
            factor *= LEAN_FACTOR_STEP;
        }
    }

    fn lean_sizes(
        smallest: usize,
        factor: f64,
        chunk_max: usize,
        unit: usize,
        page_bytes: usize,
    ) -> Vec<usize> {
        let mut sizes = vec![0];
        let mut size = smallest.next_multiple_of(unit);
        while size < chunk_max && sizes.len() <= CLASSES_MAX {
            let per_page = page_bytes / size;
            let widest = page_bytes / per_page / unit * unit;
            if widest >= chunk_max {
                break;
            }
            sizes.push(widest);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a cast from float saturates, and ends the loop"
            )]
            let next = (widest as f64 * factor) as usize;
            size = (next / unit * unit).max(widest + unit);
        }
        sizes.push(chunk_max);
        sizes
    }

    fn of(sizes: Vec<usize>, page_bytes: usize) -> Self {
        // Sizes are multiples of 8, but for a largest chunk of an odd size.
        let known = LOOKUP_BYTES_MAX.min(sizes[sizes.len() - 1] / 8 * 8);
        let class = |unit: usize| search(&sizes, unit * 8).to_le_bytes()[0];
        let by_size = (0..=known / 8).map(class).collect();
        Self { sizes, page_bytes, by_size }
    }

    /// The smallest class whose chunks hold so many bytes; `None` above the last.
    #[inline]
    pub(crate) fn class_for(&self, bytes: usize) -> Option<ClassId> {
        if let Some(&class) = self.by_size.get(bytes.div_ceil(8)) {
            return Some(ClassId::new(usize::from(class)));
        }
        let class = search(&self.sizes, bytes);
        (class < self.sizes.len()).then(|| ClassId::new(class))
    }

    pub(crate) fn chunk_bytes(&self, class: ClassId) -> usize {
        self.sizes[class.idx()]
    }

    pub(crate) fn chunks_per_page(&self, class: ClassId) -> usize {
        self.page_bytes / self.chunk_bytes(class)
    }

    /// The class of the largest chunks, in whose LRU chained items live.
    pub(crate) fn last(&self) -> ClassId {
        ClassId::new(self.sizes.len() - 1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = ClassId> + use<> {
        (1..self.sizes.len()).map(ClassId::new)
    }
}

/// The first class from 1 on whose size is no less than so many bytes.
fn search(sizes: &[usize], bytes: usize) -> usize {
    sizes.partition_point(|&size| size < bytes).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_a_search_says() {
        for ladder in [
            Ladder::new(48, 1.25, 512 << 10, 8, 1 << 20),
            Ladder::new(1, 1.01, 1 << 10, 8, 1 << 20),
            Ladder::lean(48, 1.08, 32 << 10, 8, 64 << 10),
            Ladder::of_sizes(&[100, 200, 1000], 4 << 10, 8, 1 << 20),
        ] {
            for bytes in 0..=LOOKUP_BYTES_MAX + 100 {
                let class = search(&ladder.sizes, bytes);
                let expected = (class < ladder.sizes.len()).then(|| ClassId::new(class));
                assert_eq!(ladder.class_for(bytes), expected, "{bytes} bytes");
            }
        }
    }

    #[test]
    fn the_default_ladder_is_memcacheds() {
        let ladder = Ladder::new(48, 1.25, 512 << 10, 8, 1 << 20);
        assert_eq!(
            ladder.sizes[1..],
            [
                96, 120, 152, 192, 240, 304, 384, 480, 600, 752, 944, 1184, 1480, 1856, 2320, 2904,
                3632, 4544, 5680, 7104, 8880, 11104, 13880, 17352, 21696, 27120, 33904, 42384,
                52984, 66232, 82792, 103496, 129376, 161720, 202152, 252696, 315872, 394840,
                524288
            ]
        );
    }

    #[test]
    fn every_size_has_the_smallest_class_that_holds_it() {
        let ladder = Ladder::new(48, 1.25, 512 << 10, 8, 1 << 20);
        assert_eq!(ladder.class_for(1), Some(ClassId::new(1)));
        assert_eq!(ladder.class_for(96), Some(ClassId::new(1)));
        assert_eq!(ladder.class_for(97), Some(ClassId::new(2)));
        assert_eq!(ladder.class_for(512 << 10), Some(ladder.last()));
        assert_eq!(ladder.class_for((512 << 10) + 1), None);
    }

    #[test]
    fn given_sizes_are_taken_as_they_are() {
        let ladder = Ladder::of_sizes(&[100, 200, 1000], 512 << 10, 8, 1 << 20);
        assert_eq!(ladder.sizes, [0, 104, 200, 1000, 512 << 10]);
    }

    #[test]
    fn odd_settings_still_end_in_63_classes() {
        for (min, factor, max) in [(1, 1.0001, 1 << 20), (48, 1.08, 1 << 20), (500, 9.0, 1 << 10)] {
            let ladder = Ladder::new(min, factor, max, 8, 1 << 20);
            assert!(ladder.sizes.len() <= COMPAT_CLASSES_MAX);
            assert!(ladder.sizes.is_sorted(), "{:?}", ladder.sizes);
            assert_eq!(ladder.chunk_bytes(ladder.last()), max);
        }
    }

    #[test]
    fn the_lean_ladder_is_fine_and_fills_its_pages() {
        for page in [64 << 10, 256 << 10, 1 << 20] {
            let ladder = Ladder::lean(48, 1.08, page / 2, 8, page);
            assert_eq!(ladder.sizes[1..4], [48, 56, 64]);
            assert!(ladder.sizes.len() <= CLASSES_MAX);
            assert!(ladder.sizes.is_sorted_by(|a, b| a < b));
            assert_eq!(ladder.chunk_bytes(ladder.last()), page / 2);
            for pair in ladder.sizes[1..].windows(2) {
                let (size, next) = (pair[0], pair[1]);
                assert!(page % size < 8 * (page / size), "{size} leaves room for larger chunks");
                // 8 % more, rounded, and then as wide as the page allows.
                let widest = page / (page / (size * 108 / 100).max(size + 8));
                assert!(next <= widest, "{size} {next}");
            }
        }
    }

    #[test]
    fn odd_lean_settings_still_end_in_127_classes() {
        for (min, factor, max) in [(32, 1.0001, 1 << 20), (48, 1.01, 4096), (1000, 9.0, 1 << 10)] {
            for unit in [8, 64] {
                let ladder = Ladder::lean(min, factor, max, unit, 1 << 20);
                assert!(ladder.sizes.len() <= CLASSES_MAX);
                assert!(ladder.sizes.is_sorted_by(|a, b| a < b), "{:?}", ladder.sizes);
                assert_eq!(ladder.chunk_bytes(ladder.last()), max);
            }
        }
    }
}
