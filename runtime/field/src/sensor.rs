//! A driver's readings become records.
//!
//! One task per sensor. It waits where the inbox is full: a machine's own sensors then skip ticks, and a recording is
//! played later. A sensor wants no acknowledgement.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate_hardware::{Driver, Progress, Reading};
use tidegate_record::{Ack, Channel, ClockQuality, DeliveryFlags, Name, Quality, Record};
use tokio::task::JoinSet;

use crate::causes::with_causes;
use crate::counters::{add, count};
use crate::surroundings::reached;
use crate::{FieldError, Phase, SensorConfig, SensorCounters, Surroundings};

/// A sensor whose driver is open.
#[derive(Debug)]
pub struct Sensor {
    name: Name,
    driver: Driver,
}

/// The handle on a running sensor.
#[derive(Debug, Clone)]
pub struct SensorHandle {
    name: Name,
    counters: Arc<SensorCounters>,
}

impl SensorHandle {
    /// The sensor's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// What happened so far.
    pub fn counters(&self) -> &SensorCounters {
        &self.counters
    }
}

impl Sensor {
    /// Opens the driver.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn new(config: SensorConfig) -> Result<Self, FieldError> {
        match Driver::open(&config.driver) {
            Ok(driver) => Ok(Self {
                name: config.name,
                driver,
            }),
            Err(source) => Err(FieldError::Driver {
                sensor: config.name,
                source,
            }),
        }
    }

    /// Starts the sensor's task, which ends with its driver or with the run.
    pub fn spawn(self, surroundings: &Surroundings, tasks: &mut JoinSet<()>) -> SensorHandle {
        let counters = Arc::new(SensorCounters::default());
        let handle = SensorHandle {
            name: self.name.clone(),
            counters: counters.clone(),
        };
        let mut surroundings = surroundings.clone();
        tasks.spawn(async move {
            let mut phase = surroundings.phase.clone();
            tokio::select! {
                () = reached(&mut phase, Phase::Draining) => {}
                () = self.run(&mut surroundings, &counters) => {}
            }
            counters.ended.store(true, Ordering::Relaxed);
            counters.pulse.end();
        });
        handle
    }

    async fn run(mut self, surroundings: &mut Surroundings, counters: &SensorCounters) {
        let mut channels = HashMap::new();
        let mut readings = Vec::new();
        loop {
            let next = self.driver.next(&mut readings);
            let progress = counters.pulse.during(next).await;
            counters
                .malformed
                .store(self.driver.malformed(), Ordering::Relaxed);
            for reading in readings.drain(..) {
                let record = record(reading, &self.name, &mut channels, surroundings);
                let bad = record.quality == Quality::Bad;
                let sending = surroundings.records.send(record);
                if counters.pulse.during(sending).await.is_err() {
                    return;
                }
                count(&counters.readings);
                add(&counters.bad, u64::from(bad));
            }
            match progress {
                Ok(Progress::More) => {}
                Ok(Progress::Ended) => {
                    tracing::info!(sensor = %self.name, malformed = self.driver.malformed(), "recording ended");
                    return;
                }
                Err(error) => {
                    tracing::error!(sensor = %self.name, error = with_causes(&error), "sensor failed");
                    return;
                }
            }
        }
    }
}

/// The record of a reading. Its channel is shared with the point's earlier ones, for as many points as the limits allow.
fn record(
    reading: Reading,
    source: &Name,
    channels: &mut HashMap<Arc<str>, Arc<Channel>>,
    surroundings: &Surroundings,
) -> Record {
    let known = channels
        .get(&reading.point)
        .filter(|channel| channel.unit == reading.unit);
    let channel = known.cloned().unwrap_or_else(|| {
        let channel = Arc::new(Channel {
            source: source.clone(),
            topic: reading.point.clone(),
            unit: reading.unit,
        });
        if channels.len() >= surroundings.limits.channels_max {
            channels.clear();
        }
        channels.insert(reading.point, channel.clone());
        channel
    });
    let clock = &surroundings.clock;
    let (time, quality) = match reading.time {
        Some(time) => (time, ClockQuality::Device),
        None => (clock.wall_time(), clock.quality()),
    };
    Record {
        channel,
        body: reading.body,
        time,
        clock: quality,
        quality: reading.quality,
        delivery: DeliveryFlags::default(),
        received: clock.boot_time(),
        properties: Vec::new(),
        id: None,
        ack: Ack::none(),
    }
}
