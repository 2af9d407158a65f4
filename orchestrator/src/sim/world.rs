//! The virtual clock and what happens in it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use fastrand::Rng;

use super::Options;
use super::check::Books;
use super::client::{self, Client};
use super::fleet::Worker;
use super::report::Report;
use super::run::Run;
use crate::core::{Config, Core, Now, Promised, TenantId, Usage};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Submit {
        client: usize,
    },
    Cancel {
        client: usize,
    },
    /// A slow client reads.
    Read {
        client: usize,
    },
    /// The next piece of what a worker sends.
    Piece {
        run: u64,
    },
    /// The shell looks whether something came lately.
    Silence {
        run: u64,
    },
    Heartbeat {
        worker: usize,
    },
    Probe {
        worker: usize,
        again: bool,
    },
    /// Something about a worker changes for the worse or the better.
    Trouble {
        worker: usize,
    },
    /// The core asked to be woken.
    Wake,
    /// What clients were told is stored.
    Keep,
    /// The wall clock jumps.
    Jump,
    /// The orchestrator is killed, and starts again.
    Kill,
    Restart,
}

pub(super) struct World {
    pub options: Options,
    pub rng: Rng,
    /// Milliseconds since the run began.
    pub now: u64,
    /// How far the wall clock is ahead.
    ahead: i64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    scheduled: u64,
    wake: Option<u64>,
    pub core: Option<Core>,
    pub clients: Vec<Client>,
    pub workers: Vec<Worker>,
    pub runs: BTreeMap<u64, Run>,
    pub next_run: u64,
    /// What tenants used and clients were told, as it was stored last.
    pub stored: BTreeMap<TenantId, Usage>,
    pub promised: Promised,
    pub open: usize,
    pub books: Books,
    pub report: Report,
}

/// Noon, so that no day ends within a run.
const NOON: u64 = 1_700_049_600_000 / 86_400_000 * 86_400_000 + 43_200_000;

/// Every task is over this long after the last one came.
const PATIENCE_MS: u64 = 300_000;

const HEARTBEAT_MS: u64 = 15_000;
const PROBE_MS: u64 = 5_000;
const KEEP_MS: u64 = 1_000;

impl World {
    pub fn new(options: Options) -> Self {
        let mut rng = Rng::with_seed(options.seed);
        let with_faults = options.faults > 0.0;
        let workers: Vec<_> = (0..options.workers.max(client::MODELS.len()))
            .map(|number| Worker::new(&mut rng, number))
            .collect();
        let clients: Vec<_> = (0..options.tasks)
            .map(|number| client::client(&mut rng, number, with_faults))
            .collect();
        let (seed, tasks) = (options.seed, options.tasks);
        let mut world = Self {
            options,
            rng,
            now: 0,
            ahead: 0,
            events: BinaryHeap::new(),
            scheduled: 0,
            wake: None,
            core: None,
            open: clients.len(),
            clients,
            workers,
            runs: BTreeMap::new(),
            next_run: 0,
            stored: BTreeMap::new(),
            promised: Promised::default(),
            books: Books::new(client::tenants()),
            report: Report {
                seed,
                tasks,
                ..Report::default()
            },
        };
        world.start();
        for worker in 0..world.workers.len() {
            world.after(0, Event::Heartbeat { worker });
            let again = true;
            world.after(PROBE_MS, Event::Probe { worker, again });
            world.trouble_later(worker);
        }
        world.arrivals();
        world.after(KEEP_MS, Event::Keep);
        if with_faults {
            let pause = world.rng.u64(20_000..400_000);
            world.after(pause, Event::Kill);
            world.after(pause / 2, Event::Jump);
        }
        world
    }

    /// Clients come by chance, in times of more and of less.
    fn arrivals(&mut self) {
        let capacity: f64 = self.workers.iter().map(Worker::capacity).sum();
        let mut at = 1000.0;
        let mut tide = 1.0;
        let mut turns_at = 0.0;
        for client in 0..self.clients.len() {
            if at >= turns_at {
                tide = [0.3, 1.0, 2.0][self.rng.usize(..3)];
                turns_at = at + 60_000.0 * self.rng.f64();
            }
            at -= (1.0 - self.rng.f64()).ln() / (capacity * self.options.load * tide);
            self.after(at as u64, Event::Submit { client });
        }
    }

    pub fn after(&mut self, ms: u64, event: Event) {
        self.scheduled += 1;
        self.events
            .push(Reverse((self.now + ms, self.scheduled, event)));
    }

    /// What the clocks of the orchestrator show.
    pub fn clock(&self) -> Now {
        Now {
            mono_ms: self.now,
            unix_ms: (NOON + self.now).saturating_add_signed(self.ahead),
        }
    }

    pub fn play(mut self) -> Report {
        let mut last_arrival = 0;
        while self.open > 0
            && let Some(Reverse((at, _, event))) = self.events.pop()
        {
            self.now = at;
            if matches!(event, Event::Submit { .. }) {
                last_arrival = at;
            }
            if at > last_arrival + PATIENCE_MS {
                break;
            }
            self.happens(event);
            self.look();
        }
        for (number, client) in self.clients.iter().enumerate() {
            if client.is_live() {
                let what = format!("task {number} is lost");
                self.report.violated(self.now, what);
            }
        }
        self.report.duration_ms = self.now;
        self.report
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Submit { client } => self.submit(client),
            Event::Cancel { client } => self.cancel(client),
            Event::Read { client } => self.read(client),
            Event::Piece { run } => self.piece(run),
            Event::Silence { run } => self.silence(run),
            Event::Heartbeat { worker } => {
                self.after(HEARTBEAT_MS, event);
                self.heartbeat(worker);
            }
            Event::Probe { worker, again } => {
                if again {
                    self.after(PROBE_MS, event);
                }
                self.probe(worker);
            }
            Event::Trouble { worker } => {
                self.trouble(worker);
                self.trouble_later(worker);
            }
            Event::Wake => self.wake(),
            Event::Keep => {
                self.after(KEEP_MS, event);
                self.keep();
            }
            Event::Jump => {
                self.ahead += self.rng.i64(-3_600_000..=3_600_000);
                self.ahead = self.ahead.clamp(-3_600_000, 3_600_000);
                let pause = self.rng.u64(20_000..400_000);
                self.after(pause, Event::Jump);
            }
            Event::Kill => {
                self.kill();
                let down = self.rng.u64(500..20_000);
                self.after(down, Event::Restart);
            }
            Event::Restart => {
                self.restart();
                let pause = self.rng.u64(60_000..1_200_000);
                self.after(pause, Event::Kill);
            }
        }
    }

    fn trouble_later(&mut self, worker: usize) {
        if self.options.faults > 0.0 {
            let often = 300_000.0 / self.options.faults;
            let is_ill = self.workers[worker].is_down || self.workers[worker].lies;
            let mean = if is_ill { 30_000.0 } else { often };
            let pause = -mean * (1.0 - self.rng.f64()).ln();
            self.after(pause as u64, Event::Trouble { worker });
        }
    }

    fn trouble(&mut self, at: usize) {
        let worker = &mut self.workers[at];
        if worker.is_down || worker.lies {
            worker.is_down = false;
            worker.lies = false;
            return;
        }
        match self.rng.u8(..4) {
            0 => worker.lies = true,
            1 => worker.foreign = self.rng.u32(..=worker.slots),
            _ => {
                worker.is_down = true;
                self.cut_all(at);
            }
        }
    }

    fn probe(&mut self, worker: usize) {
        let now = self.clock();
        let worker = &self.workers[worker];
        if let Some(core) = &mut self.core {
            core.probed(now, &worker.id, worker.condition());
            self.dispatch();
        }
    }

    fn heartbeat(&mut self, at: usize) {
        let now = self.clock();
        let worker = &self.workers[at];
        let info = worker.info();
        if let Some(core) = &mut self.core
            && !worker.is_down
            && core.heartbeat(now, info)
        {
            let again = false;
            self.after(1, Event::Probe { worker: at, again });
        }
    }

    /// The clock that wakes the core is used up.
    pub fn slept(&mut self) {
        self.wake = None;
    }

    /// Looks at the core from outside after everything that happened, and asks when it has to be woken.
    fn look(&mut self) {
        let Some(core) = &self.core else {
            return;
        };
        let bound = Config::default().queue_bound;
        let queued: usize = crate::core::Priority::ALL
            .map(|class| core.queued(class))
            .iter()
            .sum();
        let slots: u32 = self.workers.iter().map(|w| w.slots).sum();
        let most = client::MODELS.len() * bound + slots as usize;
        if queued > most || core.live() > queued + slots as usize {
            let what = format!("{queued} tasks wait, {} live", core.live());
            self.report.violated(self.now, what);
        }
        self.report.most_queued = self.report.most_queued.max(queued);
        self.report.most_live = self.report.most_live.max(core.live());
        let wake = core.next_wakeup(self.clock());
        if let Some(at) = wake
            && self.wake.is_none_or(|pending| at < pending)
        {
            self.wake = Some(at);
            self.after(at.saturating_sub(self.now).max(1), Event::Wake);
        }
    }
}
