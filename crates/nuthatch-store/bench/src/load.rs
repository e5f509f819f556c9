//! Keys, values and popularity: made from numbers, the same in every run.

/// A bijection of 64-bit numbers that looks random (splitmix64's).
#[inline]
pub(crate) fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Random numbers from a seed.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    pub(crate) fn number(&mut self) -> u64 {
        let state = self.0;
        self.0 = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(state)
    }

    /// At least 0, below 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(end)) >> 64) as u64
    }

    /// Normally distributed, mean 0, deviation 1.
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.fraction().max(1e-300).ln()).sqrt();
        radius * (2.0 * std::f64::consts::PI * self.fraction()).cos()
    }
}

/// Ranks from 0 with the popularity `1 / (rank + 1) ^ exponent`, drawn by rejection-inversion
/// (Hörmann and Derflinger, 1996).
pub(crate) struct Zipf {
    n: f64,
    exponent: f64,
    first: f64,
    last: f64,
    near: f64,
}

impl Zipf {
    pub(crate) fn new(n: u64, exponent: f64) -> Self {
        let mut zipf = Self { n: n as f64, exponent, first: 0.0, last: 0.0, near: 0.0 };
        zipf.first = zipf.integral(1.5) - 1.0;
        zipf.last = zipf.integral(zipf.n + 0.5);
        zipf.near = 2.0 - zipf.inverse(zipf.integral(2.5) - 2f64.powf(-exponent));
        zipf
    }

    fn integral(&self, x: f64) -> f64 {
        if (self.exponent - 1.0).abs() < 1e-9 {
            x.ln()
        } else {
            (x.powf(1.0 - self.exponent) - 1.0) / (1.0 - self.exponent)
        }
    }

    fn inverse(&self, y: f64) -> f64 {
        if (self.exponent - 1.0).abs() < 1e-9 {
            y.exp()
        } else {
            (1.0 + y * (1.0 - self.exponent)).max(1e-300).powf(1.0 / (1.0 - self.exponent))
        }
    }

    pub(crate) fn rank(&self, rng: &mut Rng) -> u64 {
        loop {
            let y = self.last + rng.fraction() * (self.first - self.last);
            let x = self.inverse(y);
            let rank = (x + 0.5).floor().clamp(1.0, self.n);
            if rank - x <= self.near || y >= self.integral(rank + 0.5) - rank.powf(-self.exponent) {
                return rank as u64 - 1;
            }
        }
    }
}

/// Lengths of keys, or of values: from and to, both included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span(pub(crate) usize, pub(crate) usize);

impl Span {
    /// The length that item `number` has.
    #[inline]
    pub(crate) fn of(self, number: u64) -> usize {
        if self.0 == self.1 {
            self.0
        } else {
            self.0 + (mix(number ^ 0xABCD) % (self.1 - self.0 + 1) as u64) as usize
        }
    }

    pub(crate) fn mean(self) -> u64 {
        (self.0 + self.1) as u64 / 2
    }
}

/// The data that the synthetic loads use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Number of keys.
    pub(crate) n: u64,
    pub(crate) keys: Span,
    pub(crate) values: Span,
}

/// The longest key of a [`Shape`].
pub(crate) const KEY_LEN_MAX: usize = 64;

impl Shape {
    #[inline]
    pub(crate) fn key_len(self, number: u64) -> usize {
        self.keys.of(number ^ 0x77)
    }

    /// The bytes of key `number`, distinct from 8 bytes of length on.
    #[inline]
    pub(crate) fn key(self, number: u64, buffer: &mut [u8; KEY_LEN_MAX]) -> &[u8] {
        let len = self.key_len(number);
        let mut word = mix(number);
        for place in buffer[..len.next_multiple_of(8)].chunks_exact_mut(8) {
            place.copy_from_slice(&word.to_le_bytes());
            word = word.rotate_left(23) ^ 0x5851_F42D_4C95_7F2D;
        }
        &buffer[..len]
    }

    /// All key numbers in an order in which neighbours in number are not neighbours in memory.
    pub(crate) fn shuffled(self) -> impl Iterator<Item = u64> {
        // A step that has no divisor in common with n visits every number.
        let step = (7_919..).find(|step| gcd(*step, self.n) == 1).expect("primes do not end");
        (0..self.n).map(move |turn| (turn * step + 13) % self.n)
    }

    /// Key numbers as they are asked for: Zipf by popularity, the popular ones spread over all
    /// numbers.
    pub(crate) fn stream(self, exponent: f64, seed: u64, len: usize) -> Vec<u32> {
        let zipf = Zipf::new(self.n, exponent);
        let mut rng = Rng::new(seed);
        let spread = |rank: u64| ((rank * 2_654_435_761 + 7) % self.n) as u32;
        (0..len).map(|_| spread(zipf.rank(&mut rng))).collect()
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// What a reader does with a value: one load a cache line.
#[inline]
pub(crate) fn touch(value: &[u8]) -> u64 {
    value.iter().step_by(64).fold(0, |sum, byte| sum.wrapping_add(u64::from(*byte)))
}
