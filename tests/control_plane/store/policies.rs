//! Versions, activation, history, audit.

use lipservice::control_plane::store::{Action, Fault, NewVersion, Store, Timestamp};

use super::{START, actor, document, minutes, new_version, on_each};

async fn create(store: &Store, service: &str, keep: &str) -> i64 {
    store.create_version(&new_version(service, keep), &actor()).await.unwrap().0.number
}

async fn in_force(store: &Store) -> Vec<(String, i64)> {
    store.active().await.unwrap().into_iter().map(|active| (active.version.service, active.version.number)).collect()
}

#[tokio::test]
async fn versions_count_up_and_never_change() {
    on_each(|store, _| async move {
        assert_eq!(create(&store, "", "1%").await, 1);
        assert_eq!(create(&store, "shop", "2%").await, 1);
        assert_eq!(create(&store, "shop", "3%").await, 2);
        // The newest again is no new version; an older one again is.
        let (same, is_new) = store.create_version(&new_version("shop", "3%"), &actor()).await.unwrap();
        assert_eq!((same.number, is_new), (2, false));
        assert_eq!(create(&store, "shop", "2%").await, 3);
        let first = store.version("shop", 1).await.unwrap();
        assert_eq!((first.document, first.parent, first.author.as_str()), (document("2%"), None, "ann"));
        assert_eq!(first.created_at, Timestamp::of(START));
        let third = store.version("shop", 3).await.unwrap();
        assert_eq!((third.parent, &third.digest), (Some(2), &first.digest));
        let numbers = |versions: Vec<lipservice::control_plane::store::Version>| {
            versions.into_iter().map(|version| version.number).collect::<Vec<_>>()
        };
        assert_eq!(numbers(store.versions("shop", None, 2).await.unwrap()), [3, 2]);
        assert_eq!(numbers(store.versions("shop", Some(2), 2).await.unwrap()), [1]);
        assert_eq!(numbers(store.newest_versions(None, 9).await.unwrap()), [1, 3]);
        assert_eq!(numbers(store.newest_versions(Some(""), 9).await.unwrap()), [3]);
        let error = store.version("shop", 4).await.unwrap_err();
        assert_eq!((error.fault(), error.to_string()), (Fault::NotFound, "service:shop has no version 4".into()));
    })
    .await;
}

#[tokio::test]
async fn a_version_from_an_old_parent_is_refused() {
    on_each(|store, _| async move {
        create(&store, "", "1%").await;
        create(&store, "", "2%").await;
        let from = |parent| NewVersion { parent: Some(parent), ..new_version("", "3%") };
        let error = store.create_version(&from(1), &actor()).await.unwrap_err();
        assert_eq!(error.fault(), Fault::Conflict);
        assert_eq!(store.create_version(&from(2), &actor()).await.unwrap().0.number, 3);
    })
    .await;
}

#[tokio::test]
async fn activation_rollback_and_deactivation() {
    on_each(|store, clock| async move {
        for keep in ["1%", "2%", "3%"] {
            create(&store, "shop", keep).await;
        }
        assert_eq!(in_force(&store).await, []);
        let start = store.revisions().await.unwrap().policies;
        assert!(store.activate("shop", 1, "first", &actor()).await.unwrap());
        assert!(!store.activate("shop", 1, "again", &actor()).await.unwrap(), "nothing to do");
        clock.advance(minutes(1));
        assert!(store.activate("shop", 3, "", &actor()).await.unwrap());
        assert!(store.activate("shop", 2, "", &actor()).await.unwrap());
        assert_eq!(in_force(&store).await, [("shop".into(), 2)]);
        assert_eq!(store.revisions().await.unwrap().policies, start + 3);
        // Each step goes further back, not to and fro.
        assert_eq!(store.roll_back("shop", None, "worse", &actor()).await.unwrap(), 3);
        assert_eq!(store.roll_back("shop", None, "", &actor()).await.unwrap(), 1);
        let error = store.roll_back("shop", None, "", &actor()).await.unwrap_err();
        assert_eq!(error.fault(), Fault::NotFound);
        assert_eq!(store.roll_back("shop", Some(2), "", &actor()).await.unwrap(), 2);
        assert!(store.deactivate("shop", "all off", &actor()).await.unwrap());
        assert!(!store.deactivate("shop", "", &actor()).await.unwrap());
        assert_eq!(in_force(&store).await, []);
        assert_eq!(store.roll_back("shop", None, "", &actor()).await.unwrap(), 2, "what was last in force");
        let history = store.activations("shop", None, 50).await.unwrap();
        let steps: Vec<_> = history.iter().rev().map(|entry| (entry.action, entry.number)).collect();
        let (activate, back) = (Action::Activate, Action::Rollback);
        let expected = [
            (activate, Some(1)),
            (activate, Some(3)),
            (activate, Some(2)),
            (back, Some(3)),
            (back, Some(1)),
            (back, Some(2)),
            (Action::Deactivate, None),
            (back, Some(2)),
        ];
        assert_eq!(steps, expected);
        assert_eq!((history[7].reason.as_str(), history[7].at), ("first", Timestamp::of(START)));
        let page = store.activations("shop", Some(history[5].seq), 50).await.unwrap();
        assert_eq!(page, history[6..]);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_there_cannot_be_put_in_force() {
    on_each(|store, _| async move {
        create(&store, "shop", "1%").await;
        for (service, number) in [("shop", 2), ("other", 1), ("shop", 0), ("shop", -1)] {
            let error = store.activate(service, number, "", &actor()).await.unwrap_err();
            assert_eq!(error.fault(), Fault::NotFound, "{service} {number}");
        }
        assert_eq!(store.deactivate("other", "", &actor()).await.unwrap_err().fault(), Fault::NotFound);
        assert_eq!(store.activations("shop", None, 9).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn versions_expire() {
    on_each(|store, clock| async move {
        let expires_at = Some(store.now().after(minutes(10)));
        let new = NewVersion { expires_at, ..new_version("", "1%") };
        let (version, _) = store.create_version(&new, &actor()).await.unwrap();
        assert_eq!(version.expires_at, expires_at);
        store.activate("", 1, "", &actor()).await.unwrap();
        assert_eq!(in_force(&store).await, [(String::new(), 1)]);
        clock.advance(minutes(10));
        assert_eq!(in_force(&store).await, []);
        for error in [
            store.activate("", 1, "", &actor()).await.unwrap_err(),
            store.roll_back("", Some(1), "", &actor()).await.unwrap_err(),
        ] {
            assert_eq!(error.fault(), Fault::Conflict);
        }
        // The same document without expiry is another version.
        assert_eq!(create(&store, "", "1%").await, 2);
    })
    .await;
}

#[tokio::test]
async fn changes_at_once_come_one_after_the_other() {
    on_each(|store, _| async move {
        let tasks: Vec<_> = (0..12)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move {
                    let number = create(&store, "shop", &format!("{n}%")).await;
                    store.activate("shop", number, "", &actor()).await.unwrap();
                    number
                })
            })
            .collect();
        let mut numbers = Vec::new();
        for task in tasks {
            numbers.push(task.await.unwrap());
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
        assert_eq!(in_force(&store).await.len(), 1);
        assert_eq!(store.revisions().await.unwrap().policies, 12);
        let last = &store.activations("shop", None, 1).await.unwrap()[0];
        assert_eq!(in_force(&store).await[0].1, last.number.unwrap());
        assert_eq!(store.audit_log(None, 100).await.unwrap().len(), 24);
    })
    .await;
}

#[tokio::test]
async fn every_change_is_in_the_audit_log() {
    on_each(|store, clock| async move {
        create(&store, "shop", "1%").await;
        clock.advance(minutes(1));
        store.activate("shop", 1, "because", &actor()).await.unwrap();
        // What fails and what changes nothing leaves no entry.
        let _ = store.activate("shop", 9, "", &actor()).await;
        store.activate("shop", 1, "", &actor()).await.unwrap();
        store.deactivate("shop", "", &actor()).await.unwrap();
        let log = store.audit_log(None, 10).await.unwrap();
        let actions: Vec<_> = log.iter().map(|entry| (entry.action.as_str(), entry.target.as_str())).collect();
        let target = "service:shop";
        let expected = [("policy.deactivate", target), ("policy.activate", target), ("policy.create", target)];
        assert_eq!(actions, expected);
        assert_eq!((log[1].actor.as_str(), log[1].request_id.as_str()), ("ann", "r-1"));
        assert_eq!(log[1].at, Timestamp::of(START).after(minutes(1)));
        assert_eq!(log[1].detail["reason"], "because");
        assert_eq!(store.audit_log(Some(log[1].seq), 10).await.unwrap(), log[2..]);
    })
    .await;
}
