//! The segment between real processes that die: at random, in the middle of a slot, in the middle of a
//! weight write. Nothing may be torn, lost, or seen twice.
//!
//! A main of its own, because it forks, which only a single-threaded process may.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use impala::os::process::{Death, Worker};
use impala::rollout::StepKind;
use impala::rollout::{Rollout, RolloutMut, RolloutShape};
use impala::shm::layout::SegmentShape;
use impala::shm::weights::WeightsReader;
use impala::shm::{Consumer, Segment, SegmentError};
use nix::sys::prctl;
use nix::sys::signal::{Signal, raise};
use nix::unistd::alarm;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

const SHAPE: SegmentShape = SegmentShape {
    n_actors: 3,
    slots_per_actor: 2,
    n_params: 20_001,
    n_moments: 1,
    rollout: RolloutShape::of_numbers(20, 16, 4),
};

/// How long the storm blows.
const STORM: Duration = Duration::from_secs(3);

/// How often a waiting process looks whether it should stop.
const TICK: Duration = Duration::from_millis(20);

/// A hang ends the whole test after this.
const WATCHDOG_S: u32 = 120;

/// The first argument of this program's second role.
const SMALL_SHM_ROLE: &str = "--in-small-shm";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(SMALL_SHM_ROLE) {
        create_in_small_shm();
        return ExitCode::SUCCESS;
    }
    alarm::set(WATCHDOG_S);
    let tests: [(&str, fn()); 6] = [
        ("rollouts_and_weights_survive_a_storm_of_kills", storm),
        ("slots_taken_by_a_dead_consumer_are_taken_again", dying_consumer),
        ("sleeping_processes_wake_each_other", ping_pong),
        ("an_actor_cannot_damage_what_is_not_its_own", protection),
        ("the_segment_has_no_name", no_name),
        ("too_little_shared_memory_is_an_error_that_says_so", small_shm),
    ];
    for (name, test) in tests {
        println!("test {name} ...");
        test();
        println!("test {name} ... ok");
    }
    println!("\ntest result: ok. {} passed; 0 failed", tests.len());
    ExitCode::SUCCESS
}

/// What an actor writes into every field of its `n`-th rollout, and into the header to be checked by.
/// Exact as f32.
fn name_of(generation: u64, n: u64) -> u64 {
    (generation * 16_384 + n) % (1 << 24)
}

fn fill_observations(rollout: &mut RolloutMut, name: u64) {
    rollout.header.env_ns = name;
    rollout.obs.numbers().fill(name as f32);
}

fn fill_the_rest(rollout: &mut RolloutMut, name: u64) {
    rollout.log_mu.fill(name as f32);
    rollout.actions.index_row().fill(name as i32);
    rollout.rewards.fill(name as f32);
    rollout.kinds.fill(bytemuck::cast::<u32, StepKind>(name as u32));
    rollout.episode_returns.fill(name as f32);
    rollout.episode_lengths.fill(name as u32);
}

fn assert_whole(rollout: &Rollout) {
    let name = rollout.header.env_ns;
    let kind: StepKind = bytemuck::cast(name as u32);
    let whole = rollout.obs.numbers().iter().all(|&x| x == name as f32)
        && rollout.log_mu.iter().all(|&x| x == name as f32)
        && rollout.actions.index_row().iter().all(|&x| x == name as i32)
        && rollout.rewards.iter().all(|&x| x == name as f32)
        && rollout.kinds.iter().all(|&x| x == kind)
        && rollout.episode_returns.iter().all(|&x| x == name as f32)
        && rollout.episode_lengths.iter().all(|&x| x == name as u32);
    assert!(whole, "slot {} is torn", rollout.header.sequence);
}

/// Parameters that all say the same.
fn params_of(version: u64) -> Vec<f32> {
    vec![(version % (1 << 24)) as f32; SHAPE.n_params]
}

/// Reads the weights, if there are newer ones, and checks them; returns their version.
fn read_checked(reader: &mut WeightsReader, params: &mut [f32]) -> Option<u64> {
    let version = reader.read_if_newer(params).unwrap()?;
    let expected = (version % (1 << 24)) as f32;
    assert!(params.iter().all(|&param| param == expected), "weights {version} are torn");
    Some(version)
}

fn die() {
    raise(Signal::SIGKILL).expect("a process may kill itself");
}

/// Where an actor kills itself, if nobody else does before.
#[derive(Clone, Copy, PartialEq)]
enum FaultPoint {
    MidSlot,
    BeforePublish,
    None,
}

impl FaultPoint {
    fn of(generation: u64) -> Self {
        [FaultPoint::MidSlot, FaultPoint::BeforePublish, FaultPoint::None][generation as usize % 3]
    }
}

/// An actor process: fills slots and reads weights until it is told to stop or dies.
fn act(segment: &Segment, actor: usize, generation: u64) -> i32 {
    const LIFE: u64 = 20;
    segment.check_header().unwrap();
    segment.prefault().unwrap();
    segment.protect_for_actor(actor).unwrap();
    let mut producer = segment.producer(actor, generation).unwrap();
    let (mut reader, mut params) = (segment.weights_reader(), vec![0.0; SHAPE.n_params]);
    let mut newest = None;
    let mut n = 0;
    while !segment.board().stop_ordered() {
        let Some(mut slot) = producer.claim(TICK) else { continue };
        let mut rollout = slot.rollout();
        if let Some(version) = read_checked(&mut reader, &mut params) {
            assert!(Some(version) > newest, "weights went back from {newest:?} to {version}");
            newest = Some(version);
        }
        let fault = if n == LIFE { FaultPoint::of(generation) } else { FaultPoint::None };
        fill_observations(&mut rollout, name_of(generation, n));
        (fault == FaultPoint::MidSlot).then(die);
        fill_the_rest(&mut rollout, name_of(generation, n));
        (fault == FaultPoint::BeforePublish).then(die);
        slot.publish(newest.unwrap_or(0));
        segment.board().actor(actor).rollouts.add(1);
        n += 1;
    }
    0
}

/// The learner's weight writer: publishes without a pause, then dies with weights that it has not shown.
fn write_weights(segment: &Segment) -> i32 {
    const LIFE: u64 = 200;
    let mut writer = segment.weights_writer().unwrap();
    for _ in 0..LIFE {
        let version = writer.version().map_or(0, |version| version + 1);
        writer.publish(version, &params_of(version));
    }
    let version = writer.version().unwrap() + 1;
    writer.publish_with(version, &[f32::NAN; SHAPE.n_params], die);
    unreachable!("it died before it showed them")
}

/// How far one actor has come.
#[derive(Clone, Copy, Default)]
struct Progress {
    /// Of the process that runs now.
    generation: u64,
    /// Slots that its predecessors had published: the first of its own comes behind them.
    n_inherited: u64,
    /// Slots consumed of all its generations.
    n_consumed: u64,
    /// Generation of the rollout seen last, and how many of that generation have been seen.
    last_seen: (u64, u64),
}

/// This process: supervisor, the learner's consuming half, and the one who kills.
struct Storm<'a> {
    segment: &'a Segment,
    /// The actors, and last the writer of the weights.
    workers: Vec<Option<Worker>>,
    consumers: Vec<Consumer<'a>>,
    progress: [Progress; SHAPE.n_actors],
    n_kills: u64,
    n_unfinished_writes: u64,
}

const WRITER: usize = SHAPE.n_actors;

impl<'a> Storm<'a> {
    fn begin(segment: &'a Segment) -> Self {
        let mut storm = Storm {
            segment,
            workers: (0..=WRITER).map(|_| None).collect(),
            consumers: (0..SHAPE.n_actors).map(|k| segment.consumer(k).unwrap()).collect(),
            progress: [Progress::default(); SHAPE.n_actors],
            n_kills: 0,
            n_unfinished_writes: 0,
        };
        (0..=WRITER).for_each(|who| storm.start(who));
        storm
    }

    fn start(&mut self, who: usize) {
        let segment = self.segment;
        let worker = if who == WRITER {
            Worker::spawn(|| write_weights(segment))
        } else {
            let generation = self.progress[who].generation;
            Worker::spawn(|| act(segment, who, generation))
        };
        self.workers[who] = Some(worker.unwrap());
    }

    /// Kills a worker, whatever it is doing, and starts its replacement.
    fn kill(&mut self, who: usize) {
        let worker = self.workers[who].take().unwrap();
        worker.kill().unwrap();
        let death = worker.reap().unwrap().death;
        assert_eq!(death, Death::Killed(Signal::SIGKILL), "worker {who} found an error");
        self.n_kills += 1;
        if who == WRITER {
            self.check_weights_without_writer();
        } else {
            let progress = &mut self.progress[who];
            progress.generation += 1;
            progress.n_inherited = progress.n_consumed + self.consumers[who].n_ready();
        }
        self.start(who);
    }

    fn check_weights_without_writer(&mut self) {
        let mut reader = self.segment.weights_reader();
        read_checked(&mut reader, &mut vec![0.0; SHAPE.n_params]);
        assert_eq!(reader.n_retries(), 0, "a dead writer disturbs nobody");
        self.n_unfinished_writes += u64::from(reader.is_write_unfinished());
    }

    /// Waits for published slots, checks them, and hands them back.
    fn consume(&mut self) {
        let (bell, consumers) = (self.segment.learner_doorbell(), &mut self.consumers);
        bell.wait_for(TICK, || consumers.iter_mut().any(|ring| ring.n_ready() > 0).then_some(()));
        for (consumer, progress) in consumers.iter_mut().zip(&mut self.progress) {
            while let Some(slot) = consumer.try_take() {
                assert_eq!(slot.index(), progress.n_consumed);
                check_rollout(&slot.rollout(), progress);
                consumer.release(slot);
            }
        }
    }

    /// Tells the actors to stop, consumes what they still publish, and buries all.
    fn end(&mut self) {
        self.segment.board().order_stop();
        let dying_writer = self.workers.pop().flatten().unwrap();
        dying_writer.kill().unwrap();
        dying_writer.reap().unwrap();
        for worker in std::mem::take(&mut self.workers).into_iter().flatten() {
            let death = worker.reap().unwrap().death;
            let expected = [Death::Exited(0), Death::Killed(Signal::SIGKILL)];
            assert!(expected.contains(&death), "an actor found an error: {death}");
        }
        self.consume();
    }
}

/// The rollout is whole and the next one of its actor.
fn check_rollout(rollout: &Rollout, progress: &mut Progress) {
    assert_whole(rollout);
    let header = rollout.header;
    let (generation, n_seen) = progress.last_seen;
    assert!(header.generation >= generation, "generations go up");
    let is_inherited = header.sequence < progress.n_inherited;
    assert_eq!(
        header.generation < progress.generation,
        is_inherited,
        "a dead actor's slot was lost"
    );
    let n = if header.generation == generation { n_seen } else { 0 };
    assert_eq!(header.sequence, progress.n_consumed);
    assert_eq!(header.env_ns, name_of(header.generation, n), "a rollout was lost or came twice");
    progress.last_seen = (header.generation, n + 1);
    progress.n_consumed += 1;
}

fn storm() {
    let segment = Segment::create(&SHAPE).unwrap();
    let mut storm = Storm::begin(&segment);
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    let began = Instant::now();
    let mut next_kill = Duration::ZERO;
    while began.elapsed() < STORM {
        storm.consume();
        if began.elapsed() >= next_kill {
            storm.kill(random.next_u64() as usize % (WRITER + 1));
            next_kill = began.elapsed() + Duration::from_micros(random.next_u64() % 10_000);
        }
    }
    storm.end();
    let n_consumed: u64 = storm.progress.iter().map(|progress| progress.n_consumed).sum();
    let Storm { n_kills, n_unfinished_writes, .. } = storm;
    println!(
        "  {n_kills} kills ({n_unfinished_writes} inside a weight write), {n_consumed} rollouts"
    );
    assert!(n_kills > 0 && n_unfinished_writes > 0 && n_consumed > 0, "the storm did not blow");
    assert!(segment.weights_reader().version().unwrap() > Some(0));
}

/// A consumer process that dies with slots in its hands; this process is its replacement.
fn dying_consumer() {
    let segment = Segment::create(&SHAPE).unwrap();
    let mut producer = segment.producer(0, 0).unwrap();
    for n in 0..2 {
        let mut slot = producer.try_claim().unwrap();
        fill(&mut slot.rollout(), n);
        slot.publish(0);
    }
    let consumer = Worker::spawn(|| {
        let mut consumer = segment.consumer(0).unwrap();
        let slot = consumer.try_take().unwrap();
        assert_whole(&slot.rollout());
        consumer.release(slot);
        consumer.try_take().unwrap();
        die();
        0
    });
    assert_eq!(consumer.unwrap().reap().unwrap().death, Death::Killed(Signal::SIGKILL));
    let mut replacement = segment.consumer(0).unwrap();
    let slot = replacement.try_take().unwrap();
    assert_eq!(slot.index(), 1, "slot 0 was released, slot 1 was not");
    assert_whole(&slot.rollout());
    assert!(replacement.try_take().is_none());
}

/// Two processes that sleep for each other, without a time-out that could heal a lost wake-up.
fn ping_pong() {
    const N_ROLLOUTS: u64 = 3_000;
    const LONG: Duration = Duration::from_secs(2 * WATCHDOG_S as u64);
    let segment = Segment::create(&SegmentShape { slots_per_actor: 1, ..SHAPE }).unwrap();
    let actor = Worker::spawn(|| {
        let mut producer = segment.producer(0, 0).unwrap();
        for n in 0..N_ROLLOUTS {
            while producer.claim(LONG).is_none() {}
            let mut slot = producer.try_claim().unwrap();
            fill(&mut slot.rollout(), n);
            slot.publish(0);
        }
        0
    });
    let mut consumer = segment.consumer(0).unwrap();
    let mut progress = Progress::default();
    while progress.n_consumed < N_ROLLOUTS {
        let Some(slot) = segment.learner_doorbell().wait_for(LONG, || consumer.try_take()) else {
            continue;
        };
        check_rollout(&slot.rollout(), &mut progress);
        consumer.release(slot);
    }
    assert_eq!(actor.unwrap().reap().unwrap().death, Death::Exited(0));
}

fn fill(rollout: &mut RolloutMut, n: u64) {
    fill_observations(rollout, name_of(0, n));
    fill_the_rest(rollout, name_of(0, n));
}

fn protection() {
    let segment = Segment::create(&SHAPE).unwrap();
    segment.weights_writer().unwrap().publish(0, &params_of(0));
    let does = |deed: fn(&Segment)| {
        let actor = Worker::spawn(|| {
            // No core file for a death that is wanted.
            prctl::set_dumpable(false).unwrap();
            segment.protect_for_actor(1).unwrap();
            deed(&segment);
            0
        });
        actor.unwrap().reap().unwrap().death
    };
    let segv = Death::Killed(Signal::SIGSEGV);
    assert_eq!(does(do_the_work_of_actor_1), Death::Exited(0));
    let sees_a_read_only_header = |_: &Segment| {
        let (maps, _) = own_traces();
        assert!(maps[0].contains(" r--s "), "{maps:?}");
    };
    assert_eq!(does(sees_a_read_only_header), Death::Exited(0));
    assert_eq!(does(|segment| segment.weights_writer().unwrap().publish(1, &params_of(1))), segv);
    assert_eq!(does(|segment| drop(segment.state_writer())), segv, "the learner's state");
    assert_eq!(does(|segment| drop(segment.producer(0, 0))), segv, "the ring before its own");
    assert_eq!(does(|segment| drop(segment.producer(2, 0))), segv, "the ring behind its own");
    let mut consumer = segment.consumer(1).unwrap();
    let slot = consumer.try_take().unwrap();
    assert_eq!(slot.index(), 0, "the supervisor may still do all");
    segment.check_header().unwrap();
    assert_eq!(segment.weights_reader().version(), Ok(Some(0)));
    assert_eq!(segment.board().actor(1).frames.get(), 320);
}

fn do_the_work_of_actor_1(segment: &Segment) {
    segment.check_header().unwrap();
    read_checked(&mut segment.weights_reader(), &mut vec![0.0; SHAPE.n_params]).unwrap();
    let mut producer = segment.producer(1, 0).unwrap();
    let mut slot = producer.try_claim().unwrap();
    fill(&mut slot.rollout(), 0);
    slot.publish(0);
    segment.board().actor(1).frames.add(320);
    let ticket = segment.actor_doorbell(1).ticket();
    segment.actor_doorbell(1).wait(ticket, Duration::ZERO);
}

/// Lines of this process's memory map and open files that name shared memory.
fn own_traces() -> (Vec<String>, usize) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let maps = maps.lines().filter(|line| line.contains("/dev/shm/")).map(str::to_owned).collect();
    let files = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    (maps, links.filter(|link| link.starts_with("/dev/shm/")).count())
}

fn no_name() {
    let segment = Segment::create(&SHAPE).unwrap();
    let (maps, n_files) = own_traces();
    assert_eq!(
        (maps.len(), n_files),
        (1, 2),
        "one mapping, the file that came with it, the read-only one for viewers: {maps:?}"
    );
    assert!(maps[0].ends_with(" (deleted)"), "{maps:?}");
    let user = Worker::spawn(|| i32::from(segment.check_header().is_err()));
    assert_eq!(user.unwrap().reap().unwrap().death, Death::Exited(0), "children need no name");
    drop(segment);
    assert_eq!(own_traces(), (vec![], 0), "nothing stays behind");
}

/// Runs this program again where /dev/shm has 1 MiB.
fn small_shm() {
    const MOUNT: &str = "mount -t tmpfs -o size=1m tmpfs /dev/shm";
    let unshared = |script: &str| {
        let program = std::env::current_exe().unwrap();
        Command::new("unshare").args(["-rm", "sh", "-c", script]).arg(program).output()
    };
    if !unshared(MOUNT).is_ok_and(|output| output.status.success()) {
        println!("  SKIPPED: a private /dev/shm needs `unshare -rm`, which is not permitted here");
        return;
    }
    let output = unshared(&format!("{MOUNT} && exec \"$0\" {SMALL_SHM_ROLE}")).unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The second role of this program, where /dev/shm has 1 MiB.
fn create_in_small_shm() {
    let large = SegmentShape { n_params: 1_000_000, ..SHAPE };
    let error = Segment::create(&large).err().expect("8 MB do not fit into 1 MiB");
    println!("  {error}");
    let SegmentError::TooSmall { needed_bytes, free_bytes, fitting_envs: None } = error else {
        panic!("{error:?}")
    };
    assert!(needed_bytes > 8_000_000 && free_bytes <= 1 << 20);
    assert_eq!(std::fs::read_dir("/dev/shm").unwrap().count(), 0, "no name is left");
    let fits = Segment::create(&SHAPE).unwrap();
    fits.check_header().unwrap();
}
