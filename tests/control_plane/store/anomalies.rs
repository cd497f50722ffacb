//! Anomalies: told once or often, in order or not, by gateways that may go away.

use lipservice::control_plane::store::{AnomalyChange, AnomalyQuery, AnomalyRow, Timestamp};

use super::{START, minutes, on_each};

/// As of so many minutes after the start.
pub fn anomaly(id: &str, service: &str, minute: u64, score: f64) -> AnomalyRow {
    let at = Timestamp::of(START).after(minutes(minute));
    AnomalyRow {
        id: id.into(),
        kind: "spike".into(),
        service: service.into(),
        pattern: Some("p".into()),
        subject: "GET <*>".into(),
        score,
        expected: 1.5,
        seen: 9.0,
        windows: 2,
        since: at,
        at,
        updated_at: at,
        ..AnomalyRow::default()
    }
}

fn ended(row: &AnomalyRow, minute: u64) -> AnomalyRow {
    let at = Timestamp::of(START).after(minutes(minute));
    AnomalyRow { updated_at: at, ended_at: Some(at), end: Some("subsided".into()), ..row.clone() }
}

const ALL: AnomalyQuery = AnomalyQuery { service: None, kind: None, since: None, open: None, before: None, limit: 100 };

#[tokio::test]
async fn an_anomaly_is_there_once_and_its_end_is_final() {
    on_each(|store, clock| async move {
        clock.advance(minutes(5));
        let opened = anomaly("a", "shop", 1, 7.0);
        let newer = AnomalyRow { score: 9.0, updated_at: Timestamp::of(START).after(minutes(2)), ..opened.clone() };
        let over = ended(&newer, 3);
        for (name, row, change) in [
            ("first", &opened, Some(AnomalyChange::Opened)),
            ("again", &opened, None),
            ("newer", &newer, Some(AnomalyChange::WentOn)),
            ("older, late", &opened, None),
            ("over", &over, Some(AnomalyChange::Ended)),
            ("over, again", &over, None),
            ("newer, after the end", &newer, None),
        ] {
            let changes = store.note_anomalies(std::slice::from_ref(row)).await.unwrap();
            assert_eq!(changes[0].as_ref().map(|change| change.0), change, "{name}");
        }
        let found = store.anomalies(&ALL).await.unwrap();
        assert_eq!(found, [AnomalyRow { updated_at: store.now(), ..over }]);
        // One that opened and ended between two reports.
        let short = ended(&anomaly("b", "shop", 4, 8.0), 4);
        let changes = store.note_anomalies(&[short.clone(), short]).await.unwrap();
        let changes: Vec<_> = changes.into_iter().map(|change| change.map(|change| change.0)).collect();
        assert_eq!(changes, [Some(AnomalyChange::Ended), None]);
    })
    .await;
}

#[tokio::test]
async fn what_nobody_speaks_of_is_lost_and_comes_back_when_somebody_does() {
    on_each(|store, clock| async move {
        let row = anomaly("a", "shop", 0, 7.0);
        store.note_anomalies(std::slice::from_ref(&row)).await.unwrap();
        let open = AnomalyQuery { open: Some(true), ..ALL };
        let over = AnomalyQuery { open: Some(false), ..ALL };
        clock.advance(minutes(9));
        assert_eq!(store.anomalies(&open).await.unwrap().len(), 1);
        clock.advance(minutes(2));
        assert_eq!(store.anomalies(&open).await.unwrap(), []);
        let lost = store.anomalies(&over).await.unwrap();
        assert_eq!((lost[0].end.as_deref(), lost[0].ended_at), (Some("lost"), Some(Timestamp::of(START))));
        let later = AnomalyRow { updated_at: store.now(), ..row };
        store.note_anomalies(&[later]).await.unwrap();
        assert_eq!(store.anomalies(&open).await.unwrap()[0].end, None);
        assert_eq!(store.anomalies(&over).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn questions_are_narrowed_and_paged() {
    on_each(|store, clock| async move {
        clock.advance(minutes(10));
        let mut rows: Vec<_> = (0..7).map(|n| anomaly(&format!("a{n}"), "shop", n / 2, 7.0)).collect();
        rows[3].service = "web".into();
        rows[4].kind = "silence".into();
        rows[5] = ended(&rows[5], 4);
        store.note_anomalies(&rows).await.unwrap();
        let ids = |found: Vec<AnomalyRow>| found.into_iter().map(|row| row.id).collect::<Vec<_>>().concat();
        let since = Some(Timestamp::of(START).after(minutes(2)));
        for (query, expected) in [
            (ALL, "a6a4a5a2a3a0a1"),
            (AnomalyQuery { service: Some("web".into()), ..ALL }, "a3"),
            (AnomalyQuery { kind: Some("silence".into()), ..ALL }, "a4"),
            (AnomalyQuery { since, ..ALL }, "a6a4a5"),
            (AnomalyQuery { open: Some(true), since, ..ALL }, "a6a4"),
            (AnomalyQuery { open: Some(false), ..ALL }, "a5"),
            (AnomalyQuery { kind: Some("storm".into()), ..ALL }, ""),
        ] {
            assert_eq!(ids(store.anomalies(&query).await.unwrap()), expected, "{query:?}");
        }
        let mut query = AnomalyQuery { limit: 2, ..ALL };
        let mut found = Vec::new();
        loop {
            let page = store.anomalies(&query).await.unwrap();
            let Some(last) = page.last() else { break };
            query.before = Some((last.at, last.id.clone()));
            found.extend(page);
        }
        assert_eq!(ids(found), "a6a4a5a2a3a0a1");
    })
    .await;
}

#[tokio::test]
async fn hostile_texts_and_times_are_bounded() {
    on_each(|store, _| async move {
        let long = "\0é".repeat(5000);
        let row = AnomalyRow {
            id: long.clone(),
            kind: long.clone(),
            service: long.clone(),
            pattern: Some(long.clone()),
            subject: long.clone(),
            replica: long.clone(),
            end: Some(long),
            score: f64::MAX,
            ..anomaly("", "", 1 << 20, 0.0)
        };
        let changes = store.note_anomalies(&[row.clone(), row]).await.unwrap();
        assert_eq!(changes.iter().flatten().count(), 1);
        let found = &store.anomalies(&ALL).await.unwrap()[0];
        assert!(found.service.len() <= 3 * 256 && found.subject.len() <= 2 * 2048 && !found.subject.contains('\0'));
        assert_eq!((found.at, found.since, found.end.as_deref()), (store.now(), store.now(), None));
    })
    .await;
}
