//! T21: two machines with one identity, in any order of their requests. And honest ones, of which nothing must be said.

use tidegate_cloud::store::devices::Alarm;
use tidegate_cloud::store::{Devices as _, GatewayId, Store as _, StreamId};
use tidegate_wire::{Epoch, Name};

use super::Outcome;
use super::centre::{Scene, tenant};
use super::device::{Device, STREAM, epoch};

/// Random changes that are worth one schedule.
const CHANGES_A_SCHEDULE: u64 = 100;

/// Rows of each request.
const ROWS: u64 = 3;

/// Requests of each clone.
const TURNS: u64 = 3;

/// A machine's opening, and what it has counted in it.
struct Opening {
    epoch: Epoch,
    count: u64,
}

impl Opening {
    const fn new(ordinal: u64, machine: u64) -> Self {
        Self {
            epoch: epoch(ordinal, machine),
            count: 0,
        }
    }

    async fn send(&mut self, scene: &Scene, device: &Device) -> Outcome {
        self.count += 1;
        let sync = device.sync(self.epoch, self.count, ROWS)?;
        scene.must(&sync).await.map(drop)
    }
}

pub(crate) async fn run(scene: &mut Scene, mutations: u64, seed: u64) -> Outcome {
    let mut chance = seed.wrapping_mul(2).wrapping_add(1);
    let schedules = (mutations / CHANGES_A_SCHEDULE).max(20);
    for number in 0..schedules {
        honest(scene, number * 2, &mut chance).await?;
        cloned(scene, number * 2 + 1, &mut chance).await?;
    }
    elsewhere(scene, schedules * 2).await
}

/// A gateway that starts again and again, each time killed with a request under way, is no clone.
async fn honest(scene: &mut Scene, number: u64, chance: &mut u64) -> Outcome {
    let device = enrolled(scene, number).await?;
    let mut before: Option<Opening> = None;
    let mut ordinal = 0;
    for _ in 0..4 {
        ordinal += 1 + next(chance) % 3;
        let mut now = Opening::new(ordinal, 1);
        now.send(scene, &device).await?;
        if let Some(mut late) = before.filter(|_| next(chance).is_multiple_of(2)) {
            late.send(scene, &device).await?;
        }
        for _ in 0..next(chance) % 3 {
            now.send(scene, &device).await?;
        }
        before = Some(now);
    }
    if alarm(scene, &device).await?.is_some() {
        scene.problem(format!(
            "gateway {} is honest and called a clone",
            device.gateway
        ));
    }
    Ok(())
}

/// A copy of the disk beside the machine itself: one goes on while the other starts, or both start.
async fn cloned(scene: &mut Scene, number: u64, chance: &mut u64) -> Outcome {
    let device = enrolled(scene, number).await?;
    let mut machine = Opening::new(1, 1);
    machine.send(scene, &device).await?;
    let mut openings = 2;
    if next(chance).is_multiple_of(2) {
        machine = Opening::new(2, 1);
        openings = 3;
    }
    let mut copy = Opening::new(2, 2);
    let (mut left, mut order) = ([TURNS; 2], String::new());
    while left != [0; 2] {
        let [of_machine, of_copy] = &mut left;
        let first = *of_copy == 0 || (*of_machine > 0 && next(chance).is_multiple_of(2));
        if first {
            *of_machine -= 1;
            machine.send(scene, &device).await?;
        } else {
            *of_copy -= 1;
            copy.send(scene, &device).await?;
        }
        order.push(if first { 'm' } else { 'c' });
    }
    // A restart, with one request that was under way, looks the same as a machine that says no more than that.
    let after = order.chars().skip_while(|turn| *turn == 'm');
    let told_apart = openings == 3 || after.filter(|turn| *turn == 'm').count() >= 2;
    let noticed = alarm(scene, &device).await?.is_some() || !told_apart;
    let kept = rows(scene, &device).await? == openings * ROWS;
    scene.noticed(
        &format!("order {order} of {openings} openings"),
        noticed,
        kept,
    );
    scene.go_on().await
}

/// The copy says that it is another gateway, or is to be enrolled as one.
async fn elsewhere(scene: &mut Scene, number: u64) -> Outcome {
    for enrols in [false, true] {
        let number = number + u64::from(enrols);
        let device = enrolled(scene, number).await?;
        let copy = Device::new(seed(number), "gw-other", &device.centre);
        let (what, sent, code) = if enrols {
            let token = scene.token("default", None).await?;
            ("enrolled as another", copy.enrol(&token)?, "key-in-use")
        } else {
            let sync = copy.sync(epoch(1, 2), 1, ROWS)?;
            ("as another", sync, "wrong-gateway")
        };
        scene.attempt(what, &sent, code).await?;
        let noticed = alarm(scene, &device).await? == Some(Alarm::KeyElsewhere);
        scene.noticed(what, noticed, true);
    }
    scene.go_on().await
}

/// A machine of its own that is enrolled and has sent nothing.
async fn enrolled(scene: &Scene, number: u64) -> Outcome<Device> {
    let gateway = format!("clone-{number}");
    let device = Device::new(seed(number), &gateway, &scene.honest.centre);
    let token = scene.token("default", Some(&gateway)).await?;
    scene.must(&device.enrol(&token)?).await?;
    Ok(device)
}

/// Apart from those of other machines.
const fn seed(number: u64) -> u64 {
    number + 1_000_000
}

fn of(device: &Device) -> Outcome<GatewayId> {
    Ok(GatewayId {
        tenant: tenant("default")?,
        gateway: Name::new(&device.gateway)?,
    })
}

async fn alarm(scene: &Scene, device: &Device) -> Outcome<Option<Alarm>> {
    let identity = scene.store.identity(&of(device)?).await?;
    let alarm = identity.and_then(|identity| identity.alarm);
    Ok(alarm.map(|(alarm, _)| alarm))
}

async fn rows(scene: &Scene, device: &Device) -> Outcome<u64> {
    let stream = StreamId {
        of: of(device)?,
        stream: Name::new(STREAM)?,
    };
    Ok(scene.store.count(&stream).await?.rows)
}

/// A xorshift generator: the same seed gives the same run.
pub(crate) fn next(chance: &mut u64) -> u64 {
    *chance ^= *chance << 13;
    *chance ^= *chance >> 7;
    *chance ^= *chance << 17;
    *chance >> 11
}
