//! The operations, for a few seconds with short intervals.

use std::time::{Duration, Instant};

use chaos_kitty::{
    Code, Problem,
    v1::{
        DeleteOperationRequest, Floop, Groom, Hairball, ListOperationsRequest, Operation, OperationStatus,
        PutOperationRequest, Scratch, Selector, Yowl, Zoomies, operation::Kind,
    },
};

use super::{
    cast::{Cast, GROUP},
    report::Report,
};

/// They run for this long at least.
const SHOW: Duration = Duration::from_secs(4);
/// By then each has had its turn.
const PATIENCE: Duration = Duration::from_secs(12);

/// Interval in milliseconds, and what is done. The intervals differ, so that the strikes do not meet.
fn operations() -> Vec<Operation> {
    let ms = |milliseconds| Some(Duration::from_millis(milliseconds).into());
    let kinds = [
        (700, Kind::Hairball(Hairball { min_delay: ms(100), max_delay: ms(200) })),
        (2300, Kind::Scratch(Scratch { signal: "TERM".to_owned() })),
        (900, Kind::Floop(Floop { min_size_mb: 40, max_size_mb: 48, hold_duration: ms(200) })),
        (1100, Kind::Zoomies(Zoomies { min_duration: ms(100), max_duration: ms(200) })),
        (1300, Kind::Yowl(Yowl { messages: Vec::new(), duration: ms(200) })),
        (500, Kind::Groom(Groom {})),
    ];
    let workers = Selector {
        platform_type: "WorkerPlatform".to_owned(),
        aggregation_identifier: GROUP.to_owned(),
        ..Default::default()
    };
    let operation = |(interval, kind)| Operation {
        selector: Some(workers.clone()),
        interval: ms(interval),
        probability: Some(0.9),
        kind: Some(kind),
        ..Default::default()
    };
    kinds.into_iter().map(operation).collect()
}

/// Puts all of them and lets them strike. They go on running.
///
/// # Errors
/// The demo itself can not go on.
pub(super) async fn run(cast: &mut Cast) -> Result<Report, Problem> {
    let begun = Instant::now();
    for operation in operations() {
        cast.client.clone().put_operation(PutOperationRequest { operation: Some(operation) }).await?;
    }
    let statuses = loop {
        cast.restart_ended().await?;
        let statuses = list(cast).await?;
        let all_struck = statuses.iter().all(|status| status.hits > 0);
        if begun.elapsed() > SHOW && (all_struck || begun.elapsed() > PATIENCE) {
            break statuses;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let complaints = statuses.iter().filter(|status| status.hits == 0);
    let complaints = complaints.map(|status| format!("{} never struck", name(status))).collect();
    let lines = statuses.iter().map(line).collect();
    Ok(Report::judged(format!("six operations for {:.0?}", begun.elapsed()), lines, complaints))
}

async fn list(cast: &Cast) -> Result<Vec<OperationStatus>, Problem> {
    let answer = cast.client.clone().list_operations(ListOperationsRequest::default()).await?;
    let operations = answer.into_inner().operations;
    if operations.len() == self::operations().len() {
        Ok(operations)
    } else {
        Err(Problem::new(Code::Internal, format!("of the operations put, {} are listed", operations.len())))
    }
}

fn name(status: &OperationStatus) -> &str {
    status.operation.as_ref().map_or(&status.kind, |operation| &operation.name)
}

fn line(status: &OperationStatus) -> String {
    let OperationStatus { rounds, hits, errors, last_error, .. } = status;
    let why = if *errors == 0 { String::new() } else { format!(" ({last_error})") };
    format!("{}: {rounds} rounds, {hits} hits, {errors} refused or failed{why}", name(status))
}

/// Ends them.
///
/// # Errors
/// The demo itself can not go on.
pub(super) async fn delete(cast: &Cast) -> Result<(), Problem> {
    for status in list(cast).await? {
        let name = name(&status).to_owned();
        cast.client.clone().delete_operation(DeleteOperationRequest { name }).await?;
    }
    Ok(())
}
