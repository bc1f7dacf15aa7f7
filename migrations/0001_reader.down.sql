-- The role stays: other databases of the cluster may use it.
DROP SCHEMA turnlog CASCADE;
