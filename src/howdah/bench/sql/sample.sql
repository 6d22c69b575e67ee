-- What a soak looks at.
select (select count(*) from howdah.task where queue like 'bench%') as waiting,
       (select n_dead_tup from pg_stat_user_tables where schemaname = 'howdah' and relname = 'task') as dead,
       pg_total_relation_size('howdah.task') as size,
       pg_current_wal_insert_lsn() - '0/0' as wal;
